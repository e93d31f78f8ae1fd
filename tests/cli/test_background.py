"""What is said reaches whoever listens, and nobody who listens can stop the tunnel."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.cli import background
from nconnect.errors import NconnectError

from .command import SECONDS, Command

KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"

SAY = """
import sys
from nconnect.cli import background
from nconnect.errors import NconnectError
background.say("one")
background.say("two")
print("still here", file=sys.stderr)
"""


def say_to(output: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SAY], stdout=output, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


def test_a_full_disk_below_the_log() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  # a device
        assert say_to(full.fileno()).stderr.startswith("still here\n")


def test_a_reader_that_has_gone() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        assert say_to(write_end).stderr.startswith("still here\n")
    finally:
        os.close(write_end)


def test_a_waiting_parent_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    monkeypatch.setenv(background.READY_FD, str(write_end))
    background.say("hello")
    background.ready(4)
    with os.fdopen(read_end) as lines:
        assert [json.loads(line) for line in lines] == [{"say": "hello"}, {"ready": 4}]


def test_a_parent_that_has_gone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    monkeypatch.setenv(background.READY_FD, str(write_end))
    background.say("hello")
    background.ready()
    os.close(write_end)
    assert capsys.readouterr().out == "hello\n"


def test_what_strangers_say_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    background.say("a user \x1b[2J\r\x07 is connected")
    background.failed(NconnectError("refused: \x1b]0;title\x07\nsecond line"), 1)
    printed = capsys.readouterr()
    assert printed.out == "a user ?[2J?? is connected\n"
    assert printed.err == "nconnect: refused: ?]0;title?\nsecond line\n"


def test_an_invite_in_an_error_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    background.failed(NconnectError(f"'nconnect1{'x' * 250}' is no name; ./nconnect1 is a file"), 1)
    assert capsys.readouterr().err == "nconnect: 'nconnect1…' is no name; ./nconnect1 is a file\n"


@pytest.mark.parametrize("option", ["-d", "--detach", "-dd"])
def test_the_child_does_not_go_to_the_background_itself(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nconnect", "status", option])
    monkeypatch.setenv("NCONNECT_RUNTIME_DIR", str(tmp_path))
    assert background.start(tmp_path / "log") == 3, "`status` has no such option, and would fail with 2"
    assert capfd.readouterr().err == "nconnect: nothing is running\n"


def test_relative_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child, which leaves the directory, looks where its parent did."""
    monkeypatch.chdir(tmp_path)
    relative = {"NCONNECT_STATE_DIR": "here", "NCONNECT_RUNTIME_DIR": "run"}
    command = Command(tmp_path, relative)
    command.run("socks", "-d", "--peer", KEY, "--listen", "127.0.0.1:0")
    assert {"here/identity", "here/log/socks.log", "run/socks.lock"} <= set(command.files())


def test_a_log_has_times_and_what_the_parent_prints_has_none(tmp_path: Path) -> None:
    command = Command(tmp_path)
    log = command.state / "log" / "socks.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"old\n" * (background.MAX_LOG_BYTES // 4) + b"\n")
    words = ("socks", "-d", "--peer", KEY, "--listen", "127.0.0.1:0")
    answer = command.run(*words)
    assert answer.returncode == 1
    assert answer.stderr.startswith("nconnect: ")
    assert log.with_name("socks.log.1").stat().st_size > background.MAX_LOG_BYTES
    line, *others = log.read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (nconnect: .*)", line)
    assert line.endswith(answer.stderr.splitlines()[0])
    command.run(*words)
    assert log.read_text().startswith("\n".join([line, *others])), "a small one goes on"


def test_ctrl_c_ends_the_child_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as seed:  # never answers
        seed.settimeout(SECONDS)
        url = f"http://127.0.0.1:{seed.getsockname()[1]}"
        command = Command(tmp_path, {"NCONNECT_SEED_RPC": url})
        parent = subprocess.Popen(
            [sys.executable, "-m", "nconnect", "socks", "-d", "--peer", KEY, "--listen", "127.0.0.1:0"],
            env=command.environ(),
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = seed.accept()
        assert "run/socks.sock" in command.files()
        parent.send_signal(signal.SIGINT)
        _, printed = parent.communicate(timeout=SECONDS)
        connection.close()
    assert (parent.returncode, printed) == (130, "")
    assert "run/socks.sock" not in command.files(), "its end, in order, removes it"
