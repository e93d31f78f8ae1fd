"""Processes of the lab: one that goes on, its output in a file, and a command that is run to its end.

The end of either is awaited, and a failure explained.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from nconnect.errors import NconnectError

# How often a log file is looked at. A tenth of the shortest time that the demo shows (0.1 s).
POLL_SECONDS = 0.01
# SIGTERM must be enough for everything of ours: undoing routes and rules takes well under a second.
STOP_SECONDS = 10.0
# What a failed step prints of a log: enough for a last error, less than a screen.
TAIL_LINES = 12


class Process:
    """A running command of one party.

    The handle belongs to no event loop: a fixture may start it in one loop and a test stop it in another.
    """

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        # An earlier process of the same name has written before us.
        self._log_start = log_start

    @classmethod
    def start(
        cls, name: str, argv: Sequence[str], *, env: Mapping[str, str], directory: Path, log: Path
    ) -> Self:
        """Start `argv` in a session of its own, so that Ctrl-C in the terminal reaches only the demo,
        which then stops everything in order.
        """
        with log.open("ab") as output:
            log_start = output.tell()
            popen = subprocess.Popen(
                argv,
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(name, popen, log, log_start)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal that ended it), None while it runs."""
        return self._popen.poll()

    def output(self) -> str:
        """All that it has printed so far, on both standard output and standard error."""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace")

    async def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until the output matches `pattern`; an early end or a time-out is a NconnectError with the
        last lines of the output.
        """
        deadline = time.monotonic() + seconds
        while True:
            code = self.returncode
            if match := re.search(pattern, self.output(), re.MULTILINE):
                return match
            if code is not None:
                raise NconnectError(f"{self.name} ended with exit code {code} too early:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NconnectError(f"{self.name} was not ready after {seconds:g} s:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def follow(self, seconds: float) -> AsyncIterator[str]:
        """The output as it comes, until the process ends; an exit code other than 0 is a NconnectError."""
        deadline = time.monotonic() + seconds
        shown = 0
        while True:
            code = self.returncode
            output = self.output()
            if shown < len(output):
                yield output[shown:]
                shown = len(output)
            if code == 0:
                return
            if code is not None:
                raise NconnectError(f"{self.name} ended with exit code {code}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise NconnectError(f"{self.name} still runs after {seconds:g} s:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def wait(self, seconds: float) -> int:
        """Wait for its end and return the exit code."""
        deadline = time.monotonic() + seconds
        while (code := self.returncode) is None:
            if time.monotonic() > deadline:
                raise NconnectError(f"{self.name} still runs after {seconds:g} s:\n{self.tail()}")
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Ask it to end; one that does not within `seconds` is killed. Returns the exit code."""
        self.send_signal(number)
        try:
            return await self.wait(seconds)
        except NconnectError:
            return self.kill()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it alone (not to its children)."""
        self._popen.send_signal(number)

    def kill(self) -> int:
        """SIGKILL to it and all that it started in its session. Returns the exit code."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self._popen.wait()

    def tail(self) -> str:
        """The last lines of the output, indented for an error message."""
        return last_lines(self.output())


def last_lines(output: str) -> str:
    """The last lines of what a process printed, indented for an error message."""
    lines = output.splitlines()[-TAIL_LINES:]
    return "\n".join(f"  {line}" for line in lines) or "  (no output)"


async def execute(
    argv: Sequence[str],
    *,
    seconds: float,
    check: bool = True,
    through: Sequence[str] = (),
    place: str = "",
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that takes too long is killed, with all that it started.

    `through` is the command that brings `argv` to its place, which errors name instead.

    Raises:
        NconnectError: it took longer than `seconds`, or, with `check`, its exit code is not 0.
    """
    child = await asyncio.create_subprocess_exec(
        *through,
        *argv,
        env=env,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await child.communicate()
    except TimeoutError:
        raise NconnectError(f"{' '.join(argv)}: not done after {seconds:g} s{place}") from None
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    assert child.returncode is not None
    done = subprocess.CompletedProcess(
        list(argv), child.returncode, output.decode(errors="replace"), errors.decode(errors="replace")
    )
    if check and done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()
        raise NconnectError(f"{' '.join(argv)}: exit code {done.returncode}{place}\n{said}")
    return done
