"""Processes of the lab: readiness, early ends, stops that are not obeyed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nconnect.demo.process import Process
from nconnect.errors import NconnectError

Start = Callable[[str], Process]


def gone(pid: int) -> bool:
    """It ended; a zombie waits for init to take it away."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().split()[2] == "Z"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def shell(script: str) -> Process:
        process = Process.start(
            "script", ["sh", "-c", script], env=dict(os.environ), directory=tmp_path, log=tmp_path / "log"
        )
        started.append(process)
        return process

    yield shell
    for process in started:
        process.kill()


async def test_it_is_ready_when_it_says_so(start: Start) -> None:
    process = start("echo starting; echo ready on port 42; exec sleep 60")
    match = await process.wait_for(r"ready on port (\d+)", 5)
    assert match[1] == "42"
    assert process.returncode is None
    assert await process.stop() == -signal.SIGTERM


async def test_an_early_end_shows_the_last_lines(start: Start) -> None:
    process = start("echo first >&2; echo no such device >&2; exit 3")
    with pytest.raises(NconnectError, match=r"exit code 3(.|\n)*no such device"):
        await process.wait_for("ready", 5)


async def test_a_last_word_counts_even_if_it_ended(start: Start) -> None:
    process = start("echo ready")
    await process.wait(5)
    await process.wait_for("ready", 5)


async def test_silence_is_an_error_after_the_time(start: Start) -> None:
    process = start("exec sleep 60")
    with pytest.raises(NconnectError, match=r"not ready after 0\.05 s(.|\n)*no output"):
        await process.wait_for("ready", 0.05)
    with pytest.raises(NconnectError, match="still runs"):
        await process.wait(0.05)


async def test_who_ignores_the_signal_is_killed_with_its_children(start: Start, tmp_path: Path) -> None:
    process = start("trap '' TERM; sleep 60 & echo child $!; wait; wait")
    child = int((await process.wait_for(r"child (\d+)", 5))[1])
    end = os.pidfd_open(child)
    assert await process.stop(seconds=0.1) == -signal.SIGKILL
    # The kernel kills the processes of a group one after the other.
    await asyncio.to_thread(select.select, [end], [], [], 5)
    os.close(end)
    assert gone(child)
