"""What processes take of the machine, and what is said of one that has ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nconnect.demo.process import Process
from nconnect.errors import NconnectError
from scripts.benchmarks.processes import Measured, cpu_seconds, peak_memory, private, resident

SECONDS = 20.0
# Takes something of the machine, says that it is there, and why it ends when it is told to.
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("out of luck"))
held = bytearray(b"x" * 20_000_000)
dropped = bytearray(b"x" * 30_000_000)
del dropped
while time.process_time() < 0.3: pass
print("ready", flush=True)
signal.pause()
"""
FIGURES = (cpu_seconds, peak_memory, resident, private)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    command = [sys.executable, "-c", PROGRAM]
    process = Process.start("gateway", command, env=os.environ, directory=tmp_path, log=tmp_path / "log")
    yield process
    process.kill()


async def test_a_process_that_runs(process: Process) -> None:
    await process.wait_for("^ready", SECONDS)
    assert 0.2 < cpu_seconds(process) < SECONDS
    assert 20 < private(process) < resident(process) < 50 < peak_memory(process)


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize("noticed", [True, False])
async def test_one_that_has_ended_is_named_with_what_it_said(
    process: Process, figure: Callable[[Measured], float], noticed: bool
) -> None:
    await process.wait_for("^ready", SECONDS)
    process.send_signal(signal.SIGTERM)
    # Until somebody asks how it ended it is a zombie.
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if noticed:
        assert process.returncode
    with pytest.raises(NconnectError, match=r"gateway has ended .*\n  ready\n  out of luck"):
        figure(process)
