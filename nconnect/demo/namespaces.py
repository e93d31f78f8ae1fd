"""Network namespaces of this machine: commands for `ip`, what runs in them, and their removal."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from nconnect.errors import HostError

# Where `ip netns` keeps the names.
NAMESPACES = Path("/run/netns")
# Processes of a removed namespace are killed; the kernel needs a moment to take them away.
KILL_SECONDS = 5.0


def ip(commands: str, namespace: str | None = None) -> None:
    """Run the lines of `commands` as one ``ip -batch``; the first that fails is a HostError."""
    where = ["-n", namespace] if namespace else []
    _command(["ip", *where, "-batch", "-"], commands)


def shell(script: str, namespace: str) -> None:
    """Run a shell script in a namespace, to its first command that fails, which is a HostError."""
    _command(["ip", "netns", "exec", namespace, "sh", "-e"], script)


def process_ids(names: Collection[str]) -> list[int]:
    """All that runs in these namespaces, found in one pass however many there are."""
    ours = {_identity(path) for name in names if (path := NAMESPACES / name).exists()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # It may have ended meanwhile; and in a container process 1 is not even root's.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if _identity(process / "ns" / "net") in ours:
                found.append(int(process.name))
    return found


def remove(names: Collection[str]) -> None:
    """Kill what runs in these namespaces, and delete them; those that are not there are passed over."""
    deadline = time.monotonic() + KILL_SECONDS
    while (pids := process_ids(names)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    ip("".join(f"netns delete {name}\n" for name in names if (NAMESPACES / name).exists()))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _command(argv: Sequence[str], text: str) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{' '.join(argv[:4])}: {(done.stderr or done.stdout).strip()}")
