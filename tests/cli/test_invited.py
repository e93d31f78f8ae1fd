"""`--invite`: where the string comes from, what is wrong with it, and that it stays a secret."""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nconnect.cli import background, invited
from nconnect.errors import ConfigError, HostError, UsageError
from nconnect.nkn.keys import KeyPair
from nconnect.permission import invites
from nconnect.permission.invites import Invite

from .command import SECONDS, Command

PROVIDER, OTHER = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2))
TEXT = invites.to_text(
    invites.sign(Invite(PROVIDER.public_key, bytes(8), 1_800_000_000, once=True), PROVIDER)
)
ADDRESS = PROVIDER.public_key.hex()


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert invited.read("") == ""
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("words", [("--invite", TEXT), (f"--invite={TEXT}", "--name", "other")])
def test_in_the_command_line_it_is_not_for_long(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What runs has taken it out of there, and not into its environment."""
    with socket.create_server(("127.0.0.1", 0)) as seed:  # never answers
        seed.settimeout(SECONDS)
        url = f"http://127.0.0.1:{seed.getsockname()[1]}"
        command = Command(tmp_path, {"NCONNECT_SEED_RPC": url})
        process = subprocess.Popen(
            [sys.executable, "-m", "nconnect", "socks", "--listen", "127.0.0.1:0", *words],
            env=command.environ(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = seed.accept()
        shown = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=SECONDS)
        connection.close()
    assert b"--invite" in shown[0]
    assert not any(TEXT.encode() in text for text in shown)
    assert "--invite - hides it" in printed
    assert TEXT not in printed


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-", "<&- >&-", ">&-"])
def test_it_is_taken_out_of_the_command_line_also_where_something_is_closed(
    tmp_path: Path, redirection: str
) -> None:
    """As a daemon may be started. The invite, a wrong one, is read all the same."""
    words = [sys.executable, "-m", "nconnect", "socks", "--invite", TEXT[:-1]]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *words],
        env=Command(tmp_path).environ(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert "the invite is cut off or a character is wrong" in done.stderr


def test_stdin_is_closed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "nconnect", "socks", "--invite", "-"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *words],
        env=Command(tmp_path).environ(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert done.stderr == "nconnect: --invite - reads the invite from stdin, which is closed\n"


@pytest.mark.parametrize("closed", ["", "<&-"])
def test_a_program_that_calls_us_with_one(tmp_path: Path, closed: str) -> None:
    """Its own command line has none, so nothing is started anew, and nobody saw it."""
    called = f"import sys; sys.argv = ['x', 'socks', '--invite', {TEXT[:-1]!r}]"
    program = tmp_path / "program.py"
    program.write_text(f"{called}; from nconnect.cli.main import run; run()")
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, str(program)],
        env=Command(tmp_path).environ(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 2
    assert (
        done.stderr == "nconnect: the invite is cut off or a character is wrong; copy it once more, whole\n"
    )


@pytest.mark.parametrize("around", ["{}", "{}\n", "  {}\r\n", "{}\nnext line"])
def test_from_stdin(around: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stdin(monkeypatch, around.format(TEXT).encode())
    assert invited.read("-") == TEXT
    assert capsys.readouterr() == ("", "")


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "invite"
    path.touch(mode=0o600)
    path.write_text(TEXT + "\n")
    assert invited.read(str(path)) == TEXT


def test_a_file_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "invite"
    path.write_text(TEXT)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"others may read it; run: chmod 600 {path}"):
        invited.read(str(path))


@pytest.mark.parametrize("text", ["", "\n", "two words"])
def test_what_is_no_one_word(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, text.encode())
    with pytest.raises(UsageError, match="one word was expected"):
        invited.read("-")


def test_no_more_is_read_than_an_invite_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"x" * 10 * invited.MAX_READ)
    assert len(invited.read("-")) == invited.MAX_READ


@pytest.mark.parametrize("given", ["nconect1" + TEXT[9:], TEXT[1:], "/", "a\0b", "x" * 5000])
def test_what_is_no_file_is_not_repeated(given: str) -> None:
    """It may be the secret, with a typing error."""
    with pytest.raises(HostError, match=r"neither -, nor an invite, .* nor a file") as error:
        invited.read(given)
    assert given == "/" or given not in str(error.value)


def test_whom_to_dial() -> None:
    address, token = invited.provider(TEXT, "", OTHER.public_key.hex())
    assert (str(address), token) == (ADDRESS, invites.from_text(TEXT))
    assert invited.provider(TEXT, "x." + ADDRESS, "")[0] == address
    assert str(invited.provider("", "", ADDRESS)[0]) == ADDRESS
    assert invited.provider("", ADDRESS, OTHER.public_key.hex()) == (address, b"")
    with pytest.raises(UsageError, match="not of the --peer that you gave"):
        invited.provider(TEXT, OTHER.public_key.hex(), "")
    with pytest.raises(UsageError, match="whose LAN"):
        invited.provider("", "", "")


@pytest.mark.parametrize(
    ("arguments", "without"),
    [
        (["up", "--invite", TEXT, "-v"], ["up", "--invite", "-", "-v"]),
        (["up", f"--invite={TEXT}"], ["up", "--invite=-"]),
        (["up", "--invite", "-"], ["up", "--invite", "-"]),
        (["up", "--peer", ADDRESS], ["up", "--peer", ADDRESS]),
    ],
)
def test_a_detached_process_has_no_secret_in_its_command(arguments: list[str], without: list[str]) -> None:
    assert invited.without_secret(arguments) == without


def test_a_detached_process_reads_it_from_its_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The child is this very command; what it is wrong with tells that it has read it."""
    monkeypatch.setattr(sys, "argv", ["nconnect", "socks", "-d", "--invite", "nconnect1" + "x"])
    monkeypatch.setenv("NCONNECT_STATE_DIR", str(tmp_path))
    assert background.start(tmp_path / "log", TEXT[:-1]) == 2
    assert "cut off or a character is wrong" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT[:-1], "cut off or a character is wrong; copy it once more, whole"),
        (TEXT + "0", "a character that none has"),
        ("nconnect2" + TEXT[9:], "upgrade nconnect"),
        (invites.to_text(invites.from_text(TEXT)[:-1] + b"\0"), "not as its provider signed it"),
    ],
)
@pytest.mark.parametrize("command", ["up", "socks"])
def test_a_wrong_one_is_told_before_anything_is_touched(
    tmp_path: Path, command: str, text: str, message: str
) -> None:
    user = Command(tmp_path)
    answer = user.run(command, "--invite", text)
    assert answer.returncode == 2
    assert message in answer.stderr
    assert text not in answer.stderr + answer.stdout
    assert user.files() == []


@pytest.mark.parametrize("arguments", [["up", TEXT], ["socks", "--peer", TEXT]])
def test_in_the_wrong_place_it_is_not_repeated(tmp_path: Path, arguments: list[str]) -> None:
    answer = Command(tmp_path).run(*arguments)
    assert answer.returncode == 2
    assert "--invite -" in answer.stderr
    assert TEXT not in answer.stderr


def test_one_s_own(tmp_path: Path) -> None:
    provider = Command(tmp_path)
    text = provider.run("invite").stdout.strip()
    answer = provider.run("socks", "--invite", text)
    assert answer.returncode == 2
    assert "this machine's own" in answer.stderr
