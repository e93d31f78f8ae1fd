"""A service's whole life: it runs until `down`, whose answer says what could not be put back."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from pathlib import Path
from typing import Never

import pytest

from nconnect.cli import main, running
from nconnect.errors import HostError
from nconnect.places import Places
from nconnect.tunnel import asking
from nconnect.tunnel.status import SCHEMA, ServeStatus, Status

LINE = "instance x: could not undo route 10.0.0.0/8: the kernel says no"


class StubbornService:
    """Changes the host, and cannot take it back."""

    def __init__(self, journal: Path) -> None:
        self.ready = asyncio.Event()
        self.failed: asyncio.Future[Never] = asyncio.Future()
        self._journal = journal

    async def run(self) -> None:
        self._journal.parent.mkdir(parents=True)
        self._journal.write_text("a change\n")
        self.ready.set()
        await asyncio.Event().wait()

    def status(self) -> Status:
        return ServeStatus(SCHEMA, "x", 1, "serving", "", "address", "nc-x", [], [], 0, [], [], [], {})


@pytest.mark.parametrize("works_at_last", [False, True])
async def test_down_says_what_could_not_be_put_back(
    works_at_last: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "run")
    monkeypatch.setenv("NCONNECT_STATE_DIR", str(places.state))
    monkeypatch.setenv("NCONNECT_RUNTIME_DIR", str(places.runtime))

    def cleanup(directory: Path, but: str = "", keep_closed: bool = False) -> list[str]:
        if but:
            return []
        if works_at_last:
            places.journal("x").unlink(missing_ok=True)
        return [LINE] if directory.exists() else []

    monkeypatch.setattr(running, "cleanup", cleanup)
    monkeypatch.setattr(running, "is_only_closed", lambda journal: False)
    service = StubbornService(places.journal("x"))
    task = asyncio.create_task(running._run(places, "x", lambda: service, lambda status: 0))
    async with asyncio.timeout(10):
        await service.ready.wait()
        down = asyncio.create_task(asyncio.to_thread(main.main, ["down"]))
        await asyncio.wait([down])
    if works_at_last:
        assert (await down, capsys.readouterr().out) == (0, "x is down\n")
        assert await task == 0
        return
    with pytest.raises(HostError, match=r"^x is down, but left what is said above; run: nconnect cleanup$"):
        await down
    assert capsys.readouterr().out == f"{LINE}\n"
    with pytest.raises(HostError, match="run: nconnect cleanup"):
        await task


class Reloadable(StubbornService):
    """Has users, and nothing that has to be put back."""

    def __init__(self, journal: Path) -> None:
        super().__init__(journal)
        self.reloaded = asyncio.Event()
        self.looked = 0

    async def run(self) -> None:
        self.ready.set()
        await asyncio.Event().wait()

    def permissions_changed(self) -> None:
        self.looked += 1

    def reload(self) -> asyncio.Future[None]:
        self.reloaded.set()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "run")


async def test_a_hangup_is_a_wish_to_read_again(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "has_terminal", lambda: False)
    service = Reloadable(places.journal("x"))
    task = asyncio.create_task(running._run(places, "x", lambda: service, lambda status: 0))
    async with asyncio.timeout(10):
        await service.ready.wait()
        os.kill(os.getpid(), signal.SIGHUP)
        await service.reloaded.wait()
        await asyncio.to_thread(asking.ask, places, "x", "permissions")
        assert service.looked == 1
        assert not task.done()
        await asyncio.to_thread(asking.down, places, "x")
        assert await task == 0


@pytest.mark.parametrize("late", [False, True])
async def test_a_terminal_that_goes_takes_the_service_with_it(
    late: bool, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the signal is here before the terminal has gone."""
    answers = iter([True, True] if late else [True])
    monkeypatch.setattr(running, "has_terminal", lambda: next(answers, False))
    service = Reloadable(places.journal("x"))
    task = asyncio.create_task(running._run(places, "x", lambda: service, lambda status: 0))
    async with asyncio.timeout(10):
        await service.ready.wait()
        os.kill(os.getpid(), signal.SIGHUP)
        assert await task == 0
    assert service.reloaded.is_set() == late


async def test_a_hangup_ends_what_has_nothing_to_read_again(places: Places) -> None:
    service = StubbornService(places.journal("x"))
    task = asyncio.create_task(running._run(places, "x", lambda: service, lambda status: 0))
    async with asyncio.timeout(10):
        await service.ready.wait()
        places.journal("x").unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        assert await task == 0


TERMINAL = """
import signal, sys
from pathlib import Path
from nconnect.cli.running import has_terminal
seen = Path(sys.argv[1])
# Blocked, so that it is not missed if it comes before it is waited for.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
seen.write_text(str(has_terminal()))
print("ready", flush=True)
signal.sigwait({signal.SIGHUP})
seen.with_name("after").write_text(str(has_terminal()))
"""


def test_a_terminal_that_hangs_up_is_noticed(tmp_path: Path) -> None:
    """A real one: a child in a pseudo-terminal whose other end is closed."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", TERMINAL, str(tmp_path / "before")])
    # The whole line: the terminal passes it on in pieces, and the child must not write what nobody takes.
    said = b""
    while not said.endswith(b"\n"):
        said += os.read(terminal, 10)
    os.close(terminal)
    os.waitpid(child, 0)
    assert (tmp_path / "before").read_text() == "True"
    assert (tmp_path / "after").read_text() == "False"
