"""Whatever is typed or lies in the files: one clear line, the right exit code, no traceback, nothing changed.

Exit codes: 0 ok, 1 failure, 2 usage, 3 not running, 4 degraded, 5 denied, 77 not privileged.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import nconnect
from nconnect.host.privileges import has_net_admin

from .command import NOBODY, Command

KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"
UP = ("up", "--peer", KEY)
SERVE = ("serve", "--lan", "192.168.77.0/24")
ALLOW = ("allow", KEY)
SOCKS = ("socks", "--peer", KEY)
TUNNEL = ("tunnel", "--from", "127.0.0.1:8081")


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.fixture
def nobody() -> Iterator[Command]:
    """The command for a user without any right; its directory is one that this user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="nconnect-nobody-"))
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield Command(directory)
    shutil.rmtree(directory)


def check_failure(answer: subprocess.CompletedProcess[str], code: int, pattern: str) -> None:
    """One line (or two) of ours that says what is wrong, and nothing else."""
    assert answer.returncode == code, answer.stderr
    lines = answer.stderr.splitlines()
    assert "Traceback" not in answer.stderr
    assert "internal error" not in answer.stderr
    assert 1 <= len(lines) <= 2, answer.stderr
    assert lines[0].startswith("nconnect: "), answer.stderr
    assert re.search(pattern, answer.stderr), answer.stderr
    assert answer.stdout == ""


# --- what is typed ---


def shown(value: object) -> str:
    """The name of a test: the command line's end."""
    return " ".join(value)[-40:] if isinstance(value, tuple) else ""


WRONG_VALUES = [
    # up
    (("up",), "--peer ADDRESS"),
    (("up", "--peer", ""), "--peer ADDRESS"),
    (("up", "--peer", "abc"), "'abc' is not an NKN address.* 3 characters, not 64"),
    (("up", "--peer", KEY[:-1]), "63 characters"),
    (("up", "--peer", "zz" + KEY[2:]), "not hexadecimal"),
    (("up", "--peer", "." + KEY), "identifier before the dot is empty"),
    (("up", "--peer", "a b." + KEY), "white space"),
    (("up", "--peer", KEY + "."), "0 characters"),
    (("up", "--peer", "\udcff\udcfe"), "not an NKN address"),
    (("up", "--peer", "http://example.org"), "not an NKN address"),
    ((*UP, "--name", ""), "'' is not a name"),
    ((*UP, "--name", "../../etc/x"), "is not a name"),
    ((*UP, "--name", "thirteenchars"), "1 to 12"),
    ((*UP, "--seed-rpc", "nonsense"), "'nonsense' is not the URL of an NKN node"),
    ((*UP, "--seed-rpc", "ftp://host:1"), "http://host:30003"),
    ((*UP, "--seed-rpc", "http://host:99999"), "not the URL"),
    ((*UP, "--seed-rpc", ""), "'' is not the URL"),
    # serve
    (("serve",), "--lan CIDR"),
    (("serve", "--lan", ""), "'' is not a network"),
    (("serve", "--lan", "lan"), "'lan' is not a network; write for instance 192.168.1.0/24"),
    (("serve", "--lan", "10.0.0.1/8"), "did you mean 10.0.0.0/8"),
    (("serve", "--lan", "10.0.0.0/33"), "not a network"),
    (("serve", "--lan", "10.0.0/24"), "not a network"),
    (("serve", "--lan", "fd00::1/64"), "did you mean fd00::/64"),
    ((*SERVE, "--lan", "10.0.0.256/32"), "'10.0.0.256/32'"),
    (("serve", "--lan", "10.0.0.0/8, lan"), "'lan' is not a network"),
    (("serve", "--lan", "10.0.0.0/8,"), "'' is not a network"),
    ((*SERVE, "--allow", f"{KEY},everybody"), "'everybody' is not an NKN address"),
    ((*SERVE, "--allow", "everybody"), "'everybody' is not an NKN address"),
    ((*SERVE, "--allow", ".*"), "not an NKN address"),
    ((*SERVE, "--name", "a/b"), "is not a name"),
    ((*SERVE, "--no-tun", "--mtu", "1280"), "--mtu has nothing to say"),
    ((*SERVE, "--mtu", "1279"), "--mtu is 1280 to 65535 bytes, not 1279"),
    ((*SERVE, "--mtu", "65536"), "not 65536"),
    # allow, revoke, users, policy
    (("allow", "laptop"), "'laptop' is not an NKN address"),
    (("allow", f"{KEY[:-1]}"), "has 63 characters, not 64"),
    ((*ALLOW, "--name", "a b"), "'a b' is not a name for a user"),
    ((*ALLOW, "--name", KEY), "is not a name for a user"),
    ((*ALLOW, "--to", "gpu"), r"'gpu' is not a target: .* 192.168.1.20:443/tcp"),
    ((*ALLOW, "--to", "10.0.0.1:80"), r"add /tcp or /udp"),
    ((*ALLOW, "--to", "10.0.0.1,"), "'' is not a target"),
    ((*ALLOW, "--expires", "tomorrow"), "'tomorrow' is not a duration; write for instance 30m"),
    ((*ALLOW, "--rate", "fast"), "'fast' is not a rate"),
    ((*ALLOW, "--quota", "100"), "'100' is not a size"),
    (("revoke", f"x.{KEY[:-1]}"), "has 63 characters, not 64"),
    (("revoke", "a b"), "'a b' is not an NKN address"),
    (("policy", "check", "/nowhere/policy.toml"), "there is no /nowhere/policy.toml"),
    # socks
    (("socks",), "--peer ADDRESS"),
    (("socks", "--peer", "abc"), "'abc' is not an NKN address"),
    ((*SOCKS, "--listen", "1080"), "'1080' is not HOST:PORT"),
    ((*SOCKS, "--listen", "127.0.0.1"), "not HOST:PORT"),
    ((*SOCKS, "--listen", "127.0.0.1:"), "not HOST:PORT"),
    ((*SOCKS, "--listen", "127.0.0.1:99999"), "not HOST:PORT"),
    ((*SOCKS, "--listen", "127.0.0.1:-1"), "not HOST:PORT"),
    ((*SOCKS, "--listen", "::1:1080"), r"write for instance 127.0.0.1:8080 or \[::1\]:8080"),
    ((*SOCKS, "--name", "a/b"), "is not a name"),
    # tunnel
    (("tunnel", "--to", "127.0.0.1:80"), "give --accept PATTERN, .*: nobody is let in"),
    (("tunnel", "--to", "127.0.0.1:80", "--accept", "("), r"'\(' is not a regular expression"),
    (("tunnel", "--to", "127.0.0.1:0x50", "--accept", "x$"), "'127.0.0.1:0x50' is not HOST:PORT"),
    (("tunnel", "--to", KEY), "one end is the NKN network: --from"),
    (("tunnel", "--from", "127.0.0.1:81", "--to", "127.0.0.1:80"), "one end is the NKN network: --from"),
    ((*TUNNEL, "--to", KEY[:-1] + "z"), "not hexadecimal"),
    ((*TUNNEL, "--to", KEY, "--accept", KEY), "--accept is for --from nkn"),
    ((*TUNNEL, "--to", KEY, "--name", ""), "'' is not a name"),
    ((*TUNNEL, "--to", KEY, "--identifier", "a b"), "white space"),
    (("tunnel", "--from", "here", "--to", KEY), "'here' is not HOST:PORT"),
    # the others
    (("down", "../x"), "is not a name"),
    (("status", "a b"), "is not a name"),
    (("devnet", "--listen", "nowhere"), "expected host:port"),
    (("devnet", "--listen", "127.0.0.1:65535"), "a port below"),
    (("devnet", "--listen", "192.0.2.77:30003"), "cannot listen on 192.0.2.77"),
    (("devnet", "--advertise", "a b"), "without a port"),
    (("devnet", "--faucet", "much"), "'much'"),
    (("devnet", "--nodes", "0"), "1 to 256 nodes, not 0"),
    (("devnet", "--loss", "101"), "per cent from 0 to 100"),
    (("devnet", "--loss", "nan"), "per cent"),
    (("devnet", "--latency", "-1"), "milliseconds from 0"),
    (("devnet", "--node", "1:speed=5"), "'speed=5' shapes nothing"),
    (("devnet", "--node", "4:rate=5"), "the nodes are 0 to 3"),
]


@pytest.mark.parametrize(("words", "pattern"), WRONG_VALUES, ids=shown)
def test_a_wrong_value(command: Command, words: tuple[str, ...], pattern: str) -> None:
    check_failure(command.run(*words), 2, pattern)
    assert command.files() == []


WRONG_WORDS = [
    # no such option
    (("--zzz", "status"), "no such option: --zzz$"),
    (("--verbos", "status"), r"no such option: --verbos; did you mean --verbose\?$"),
    (("-x", "status"), "no such option: -x$"),
    (("up", "--pear", KEY), r"no such option: --pear; did you mean --peer\?$"),
    (("up", "--pee", KEY), r"no such option: --pee; did you mean --peer\?$"),
    (("up", f"--pear={KEY}"), r"no such option: --pear; did you mean --peer\?$"),
    (("tunnel", "--too", "127.0.0.1:80"), r"no such option: --too; did you mean --to\?$"),
    (("allow", "--nam", "x"), r"no such option: --nam; did you mean --name\?$"),
    (("up", "-x"), "no such option: -x$"),
    (("up", "-dx"), "no such option: -x$"),
    (("revoke", "-5"), "no such option: -5$"),
    (("policy", "check", "--file", "x"), "no such option: --file$"),
    (("up", "--version"), "no such option: --version$"),
    # something is missing
    (("allow",), "required: KEY$"),
    (("allow", "--name", "x"), "required: KEY$"),
    (("revoke",), r"required: KEY\|NAME$"),
    (("tunnel",), "required: --to$"),
    (("policy",), "required: COMMAND$"),
    (("up", "--peer"), "argument --peer: expected one argument$"),
    (("up", "--peer", "-v"), "argument --peer: expected one argument$"),
    (("status", "--log-format"), "argument --log-format: expected one argument$"),
    # too much
    (("up", KEY), rf"unexpected argument: {KEY}; did you mean --peer {KEY}\?$"),
    (("up", "--", KEY), rf"unexpected argument: {KEY}; did you mean --peer {KEY}\?$"),
    (("socks", KEY), f"did you mean --peer {KEY}"),
    (("serve", "--lan", "10.0.0.0/8", "192.168.1.0/24"), "did you mean --lan 192.168.1.0/24"),
    (("serve", "--lan", "10.0.0.0/8", "--allow", KEY, KEY), f"did you mean --allow {KEY}"),
    (("up", "\x1b[2J/"), r"argument: \?\[2J/$"),
    (("status", "a", "b", "c"), "unexpected argument: b c$"),
    (("invite", "-"), "unexpected argument: -$"),
    (("policy", "check", "a", "b"), "unexpected argument: b$"),
    (("up", "--wait=1"), "--wait takes no value$"),
    (("-v", "up", "--detach="), "--detach takes no value$"),
    # no such value
    (("--log-format", "xml", "status"), "argument --log-format: invalid choice: 'xml' .*text.*json"),
    (("status", "--log-format", "xml"), "argument --log-format: invalid choice: 'xml' .*text.*json"),
    (("devnet", "--seed", "x"), "argument --seed: invalid int value: 'x'$"),
    (("devnet", "--latency", "\x1b[2J"), r"argument --latency: invalid float value: '\\x1b\[2J'$"),
    (("serve", "--mtu", "large"), "argument --mtu: invalid int value: 'large'$"),
    (("policy", "chekc"), "'chekc' .*'?check'?"),
    # no such command
    (("dance",), "no such command: dance$"),
    (("statsu",), r"no such command: statsu; did you mean status\?$"),
    (("Status", "--json"), r"no such command: Status; did you mean status\?$"),
    (("",), "no such command: $"),
    (("a\x1b[2J",), r"no such command: a\?\[2J$"),
]


@pytest.mark.parametrize(("words", "pattern"), WRONG_WORDS, ids=shown)
def test_a_wrong_word(command: Command, words: tuple[str, ...], pattern: str) -> None:
    """What is no command or option, or too much or too little: what was wrong, and where to read on."""
    answer = command.run(*words)
    check_failure(answer, 2, "nconnect")
    wrong, hint = answer.stderr.splitlines()
    assert re.search(pattern, wrong), answer.stderr
    assert re.fullmatch("see: nconnect( [a-z]+)? --help", hint)
    assert command.files() == []


INVITE = "nconnect1" + "0123456789abcdefghjk" * 10


@pytest.mark.parametrize(
    "words",
    [
        (INVITE,),
        ("up", "--peer", KEY, INVITE),
        ("up", f"--invit={INVITE}"),
        ("up", f"--wait={INVITE}"),
        ("up", "--log-format", INVITE),
        ("serve", INVITE),
        ("status", INVITE),
        ("status", "up", INVITE),
        ("allow", INVITE),
        ("policy", INVITE),
        ("devnet", "--nodes", INVITE),
    ],
    ids=lambda words: " ".join(words).replace(INVITE, "INVITE").replace(KEY, "KEY"),
)
def test_an_invite_in_the_wrong_place_is_not_repeated(command: Command, words: tuple[str, ...]) -> None:
    """It is a secret, and this may be a log."""
    answer = command.run(*words)
    check_failure(answer, 2, "")
    assert INVITE[:20] not in answer.stderr


def test_no_command_at_all_shows_them(command: Command) -> None:
    answer = command.run()
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == command.run("--help").stdout


def test_help_and_version(command: Command) -> None:
    assert command.run("--version").stdout == f"nconnect {nconnect.__version__}\n"
    for words in (("-h",), ("up", "-h"), ("up", "--peer", "x", "--help"), ("policy", "check", "-h")):
        answer = command.run(*words)
        assert (answer.returncode, answer.stderr) == (0, "")
        assert answer.stdout.startswith("usage: nconnect")


DASHES = [
    (("up", "--invite", "-"), "--invite: one word was expected"),  # read from stdin, which is empty
    (("socks", "--invite=-"), "--invite: one word was expected"),
    (("up", "--peer", "--wait"), "'--wait' is not an NKN address"),
    (("up", "--peer=--wait"), "'--wait' is not an NKN address"),
    (("allow", KEY, "--name", "-h"), "'-h' is not a name"),
    (("allow", "--rate", "-5", KEY), "'-5' is not a rate"),
    (("allow", "--expires", "-1d", "--", KEY), "'-1d' is not a duration"),
    (("devnet", "--latency", "-1e3"), "latency -1000: expected"),
    (("revoke", "--", "-x"), "'-x' is not an NKN address"),
    (("revoke", "--", "--help"), "'--help' is not an NKN address"),
]


@pytest.mark.parametrize(("words", "pattern"), DASHES, ids=shown)
def test_a_value_may_begin_with_a_dash(command: Command, words: tuple[str, ...], pattern: str) -> None:
    check_failure(command.run(*words), 2, pattern)


@pytest.mark.parametrize(
    "words",
    [
        (KEY, "--name", "ann", "--to", "10.0.0.1", "--to", "10.0.0.2"),
        ("--name=ann", "--to=10.0.0.1", KEY, "--to=10.0.0.2"),
        ("--to", "10.0.0.1,10.0.0.2", "--name", "bob", "--name", "ann", "--", KEY),
    ],
    ids=["after it", "around it", "before it"],
)
def test_options_stand_before_or_after_an_argument(command: Command, words: tuple[str, ...]) -> None:
    """One that is repeated is a list, or else the last one counts."""
    answer = command.run("allow", *words)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"allowed ann {KEY}: 10.0.0.1, 10.0.0.2\n"


@pytest.mark.parametrize(
    "words", [("-vv", "socks"), ("socks", "-vv"), ("socks", "--verbose", "-v"), ("--verbose", "socks", "-v")]
)
def test_global_options_stand_anywhere(command: Command, words: tuple[str, ...]) -> None:
    answer = command.run(*words, "--peer", KEY, "--listen", "127.0.0.1:0", "--log-format", "json")
    *logged, last = answer.stderr.splitlines()
    assert "debug" in {json.loads(line)["level"] for line in logged}
    assert last.startswith("nconnect: ")


# --- what lies in the files ---

DAMAGED_CONFIGS = {
    "no TOML": (b"[network", "config.toml"),
    "no text": (b"\xff\xfe\x00", "config.toml"),
    "an unknown setting": (b"[network]\nseeds = []\n", "`seeds`"),
    "an unknown section": (b"[netwrok]\n", "`netwrok`"),
    "a wrong type": (b"[network]\nseed_rpc = 3\n", r"\$.network.seed_rpc"),
    "no seeds": (b"[network]\nseed_rpc = []\n", "seed_rpc is empty"),
    "a wrong seed": (b'[network]\nseed_rpc = ["seed"]\n', "'seed' is not the URL"),
    "too few paths": (b"[network]\nsub_clients = -1\n", "sub_clients must be 0 to 32"),
    "a wrong peer": (b'[up]\npeer = "me"\n', "'me' is not an NKN address"),
    "brackets without end": (b"x = " + b"[" * 100_000, "config.toml"),
    "a disk image": (b"\0" * (1 << 20) + b"\0", "is it a configuration file"),
}


@pytest.mark.parametrize("damage", DAMAGED_CONFIGS)
def test_a_damaged_configuration(tmp_path: Path, damage: str) -> None:
    text, pattern = DAMAGED_CONFIGS[damage]
    command = Command(tmp_path, {"NCONNECT_SEED_RPC": ""})
    command.config.write_bytes(text)
    check_failure(command.run("up"), 2, pattern)
    assert command.files() == ["config.toml"]


def test_a_configuration_that_cannot_be_read(command: Command) -> None:
    command.config.mkdir()
    check_failure(command.run(*UP), 2, "cannot read .*config.toml: Is a directory")


@pytest.mark.parametrize(
    ("text", "mode", "pattern"),
    [
        ("", 0o600, "not an identity"),
        (KEY[:-2], 0o600, "not an identity"),
        ("z" * 64, 0o600, "restore it or move it away"),
        (KEY, 0o640, "chmod 600"),
    ],
    ids=["empty", "cut off", "no hex", "others may read it"],
)
def test_a_damaged_identity(command: Command, text: str, mode: int, pattern: str) -> None:
    command.state.mkdir()
    identity = command.state / "identity"
    identity.write_text(text)
    identity.chmod(mode)
    check_failure(command.run("id"), 2, pattern)
    assert identity.read_text() == text, "a key that somebody may restore is never replaced"


def test_an_identity_that_is_a_directory(command: Command) -> None:
    (command.state / "identity").mkdir(parents=True)
    check_failure(command.run("id"), 1, "cannot read .*identity: Is a directory")


def test_the_own_address_as_peer(command: Command) -> None:
    """A likely mistake: `nconnect id` was run on the wrong machine."""
    own = command.run("id").stdout.strip()
    code, pattern = (2, "this machine's own address") if has_net_admin() else (77, "root")
    check_failure(command.run("up", "--peer", own), code, pattern)


# --- nothing runs ---


@pytest.mark.parametrize(
    "words", [("status",), ("status", "--json"), ("status", "up"), ("down",), ("down", "x")]
)
def test_nothing_runs(command: Command, words: tuple[str, ...]) -> None:
    check_failure(command.run(*words), 3, "running")
    assert command.files() == []


def test_a_runtime_directory_that_is_a_file(command: Command) -> None:
    command.runtime.touch()
    check_failure(command.run("status"), 3, "running")
    check_failure(command.run("status", "up"), 1, "cannot ask .*: Not a directory")


def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    command = Command(tmp_path, {"NCONNECT_RUNTIME_DIR": str(tmp_path / ("x" * 120))})
    check_failure(command.run("status", "up"), 1, "cannot ask .*too long")


@pytest.mark.parametrize(
    "said", [b"", b"{}\n", b"garbage\n", b'{"error": "unknown request"}\n', b'{"\xff": 1}\n']
)
def test_something_else_answers(tmp_path: Path, said: bytes) -> None:
    """An instance of another version, or no instance at all, behind the socket."""
    command = Command(tmp_path)
    command.runtime.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(command.runtime / "up.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(said)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        result = command.run("status", "up")
        thread.join(10)
    check_failure(result, 1 if said else 3, "start it again" if said else "ended while it was asked")


# --- not root ---


@pytest.mark.parametrize("words", [UP, (*UP, "-d"), SERVE, ("cleanup",), ("demo",)], ids=" ".join)
def test_without_root(nobody: Command, words: tuple[str, ...]) -> None:
    check_failure(nobody.run_as_nobody(*words), 77, "sudo")
    assert nobody.files() == []


@pytest.mark.parametrize(
    ("words", "code", "pattern"),
    [
        ((*SOCKS, "--listen", "127.0.0.1:0"), 1, "cannot join the NKN network"),
        (("tunnel", "--from", "127.0.0.1:0", "--to", KEY), 1, "cannot join the NKN network"),
        (("tunnel", "--to", "127.0.0.1:80", "--accept", KEY), 1, "cannot join the NKN network"),
        (("serve", "--no-tun", "--lan", "203.0.113.0/24"), 2, "this machine is not connected to it"),
    ],
    ids=["socks", "tunnel from a port", "tunnel from nkn", "serve --no-tun"],
)
def test_what_needs_no_root(nobody: Command, words: tuple[str, ...], code: int, pattern: str) -> None:
    """It fails for what is missing here, the network, and not for want of rights."""
    check_failure(nobody.run_as_nobody(*words), code, pattern)


def test_an_identity_of_one_s_own_needs_no_root(nobody: Command) -> None:
    """Without root the places are those of XDG."""
    home = nobody.directory
    own = Command(
        home,
        {
            "NCONNECT_CONFIG": "",
            "NCONNECT_STATE_DIR": "",
            "NCONNECT_RUNTIME_DIR": "",
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "mine"),
        },
    )
    if os.geteuid() != 0:
        own.environment["XDG_RUNTIME_DIR"] = str(home / "run")
    first, again = own.run_as_nobody("id"), own.run_as_nobody("id")
    assert (first.returncode, first.stderr) == (0, "")
    assert re.fullmatch("[0-9a-f]{64}\n", first.stdout)
    assert again.stdout == first.stdout
    assert own.files() == ["mine", "mine/nconnect", "mine/nconnect/identity"]
    check_failure(own.run_as_nobody("status"), 3, "nothing is running")


def test_places_of_somebody_else(nobody: Command) -> None:
    """A state directory that this user may not write."""
    nobody.directory.chmod(0o555)
    answer = nobody.run_as_nobody("id")
    nobody.directory.chmod(0o755)
    check_failure(answer, 1, "cannot write .*identity: Permission denied")


# --- output ---


def test_id_json(command: Command) -> None:
    answer = json.loads(command.run("id", "--json").stdout)
    assert answer == {"schema": 1, "public_key": answer["public_key"], "address": answer["public_key"]}
    assert command.run("id").stdout.strip() == answer["public_key"]
    assert (command.state / "identity").stat().st_mode & 0o777 == 0o600


def test_the_reader_has_gone(command: Command) -> None:
    """`nconnect … | head -0`: no words about a broken pipe."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        answer = subprocess.run(
            [sys.executable, "-m", "nconnect", "id"],
            env=command.environ(),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert answer.returncode == 1
    assert answer.stderr == ""
