"""What the commands of scripts/bench share: --help and --json, errors in a line, an end that cleans up."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nconnect.errors import NconnectError
from scripts.figures import Row, show

# What shells return for a command that a signal ended: 128 + SIGINT.
INTERRUPTED = 130


def make_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Of `scripts/bench NAME`, described by the first line of `doc`; it has --json."""
    summary = (doc or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"scripts/bench {name}", description=summary)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(name: str, measure: Callable[[], Sequence[Row]], *, as_json: bool) -> None:
    """Measure, print the figures, and end the process: with 1 if one of them could not be had."""
    end_like_interrupt()
    try:
        rows = measure()
    except (NconnectError, TimeoutError) as error:
        sys.exit(f"scripts/bench {name}: {str(error) or 'not done in time'}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    show(rows, as_json=as_json, more={"environment": environment()})
    sys.exit(any(row.value is None for row in rows))


def end_like_interrupt() -> None:
    """SIGTERM does what Ctrl-C does; else it would leave the namespaces to the next run."""
    # A shell has what it starts in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def environment() -> dict[str, str | int | None]:
    """What of this machine the figures depend on."""
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tcp_congestion_control": congestion,
        "load_average": str(os.getloadavg()[0]),
    }
