"""What a process has taken of the machine until now, by /proc (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Protocol

from nconnect.errors import NconnectError

TICKS = os.sysconf("SC_CLK_TCK")
# The state of one that has ended, of which its parent has not taken notice yet.
ZOMBIE = "Z"


class Measured(Protocol):
    """A process that is measured: one of a lab, or one of a crowd."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def tail(self) -> str:
        """The last lines that it printed, indented for an error message."""


def cpu_seconds(process: Measured) -> float:
    """What it has used so far, of user and system time. NconnectError: it has ended."""
    state, seconds = parse_stat(_read(process, "stat"))
    if state == ZOMBIE:
        raise _ended(process)
    return seconds


def parse_stat(text: str) -> tuple[str, float]:
    """Of /proc/PID/stat: the state, and the seconds of user and system time."""
    # The name, in brackets, may hold spaces; field 3, the state, and fields 14 and 15 follow it.
    fields = text.rpartition(")")[2].split()
    return fields[0], (int(fields[11]) + int(fields[12])) / TICKS


def peak_memory(process: Measured) -> float:
    """MB of memory that it has had at most. NconnectError: it has ended."""
    return _megabytes(process, "status", "VmHWM")


def resident(process: Measured) -> float:
    """MB of memory that it has now, shared or not. NconnectError: it has ended."""
    return _megabytes(process, "status", "VmRSS")


def private(process: Measured) -> float:
    """MB of memory that it has now and shares with no other process. NconnectError: it has ended."""
    return sum(_megabytes(process, "smaps_rollup", f"Private_{kind}") for kind in ("Clean", "Dirty"))


def _megabytes(process: Measured, file: str, field: str) -> float:
    match = re.search(rf"^{field}:\s+(\d+) kB", _read(process, file), re.MULTILINE)
    # A zombie has no memory, so no such line.
    if match is None:
        raise _ended(process)
    return int(match[1]) * 1024 / 1e6


def _read(process: Measured, file: str) -> str:
    try:
        return Path(f"/proc/{process.pid}/{file}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise _ended(process) from None


def _ended(process: Measured) -> NconnectError:
    return NconnectError(f"{process.name} has ended while it was measured:\n{process.tail()}")
