"""The lab itself: it holds, and nothing of it stays on this machine, however it ends.

::

    user ──── relay: nconnect devnet ──── provider ──── 192.168.56.0/24 ──── inference

The scenario is scripts/lab/scenario.py; its events are what a failure shows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "scripts/lab/run"
# From nothing: a root file system is built, too.
LAB_SECONDS = 600.0
BOOT_SECONDS = 300.0
GONE_SECONDS = 20.0

# A lab that takes too long is ended by the test itself, which then shows its events.
pytestmark = [pytest.mark.lab, pytest.mark.timeout(LAB_SECONDS + 60.0)]


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nconnect-lab"


def leftovers() -> list[str]:
    """Processes, mounts, control groups and files of a lab in containers."""
    found = [line for line in commands() if line.startswith("systemd-nspawn ")]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if "/nspawn." in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("**/nconnect-lab")]
    return found + [str(path) for path in cache().glob("nspawn.*")]


def commands() -> list[str]:
    """The command line of everything that runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.parametrize("depth", [[], ["--nspawn"]], ids=["namespaces", "containers"])
def test_reboots_and_power_cuts_cost_no_download_and_leave_nothing(depth: list[str]) -> None:
    done = subprocess.run([RUN, *depth], capture_output=True, text=True, timeout=LAB_SECONDS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "SHA-256 as at the source" in done.stdout
    assert leftovers() == []


# SIGKILL first: what it leaves the others have to remove.
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_container(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([RUN, "--nspawn"], stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + BOOT_SECONDS
    while not any(line.startswith("systemd-nspawn") for line in leftovers()):
        assert process.poll() is None, f"ended early: {log.read_text()}"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(GONE_SECONDS)
    deadline = time.monotonic() + GONE_SECONDS
    # After SIGKILL nobody is there who could remove files; the next run does.
    files = () if number != signal.SIGKILL else (str(cache()), "/sys/fs/cgroup")
    while left := [line for line in leftovers() if not (files and line.startswith(files))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
