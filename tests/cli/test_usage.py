"""Whatever is typed: one clear line that says what may have been meant, exit code 2, nothing changed."""

from __future__ import annotations

import json
import re

import pytest

import nconnect

from .command import ALLOW, KEY, SERVE, SOCKS, TUNNEL, UP, Command, check_failure


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
    ((*UP, "--forward", "the container"), "'the container' is not an interface; write for instance eth1"),
    ((*UP, "--forward", "*"), r"'\*' is not an interface"),
    ((*UP, "--forward", "ve-*,"), "'' is not an interface"),
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
    ((*SERVE, "--forward", "v*-host"), r"'v\*-host' is not an interface.* ve-\* for all ve-…"),
    ((*SERVE, "--forward", "sixteencharacter"), "'sixteencharacter' is not an interface"),
    ((*SERVE, "--forward", "ve-c,@set"), "'@set' is not an interface"),
    ((*SERVE, "--no-tun", "--forward", "eth1"), "--forward has nothing to say"),
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
    (("tunnel", "--to", "127.0.0.1:80", "--accept", "x$"), "'x\\$' need match a part of an address only"),
    (("tunnel", "--to", "127.0.0.1:0x50", "--accept", "^x$"), "'127.0.0.1:0x50' is not HOST:PORT"),
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
