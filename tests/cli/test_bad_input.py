"""Whatever lies in the files, runs or does not, and whoever asks: one clear line, the right exit code, no
traceback, nothing changed.

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

from nconnect.host.privileges import has_net_admin

from .command import KEY, NOBODY, SERVE, SOCKS, UP, Command, check_failure


@pytest.fixture
def nobody() -> Iterator[Command]:
    """The command for a user without any right; its directory is one that this user can reach."""
    directory = Path(tempfile.mkdtemp(prefix="nconnect-nobody-"))
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    yield Command(directory)
    shutil.rmtree(directory)


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
