"""Flame graphs of `up` and `serve` under one TCP stream, by py-spy."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Party
from nconnect.errors import NconnectError
from scripts.benchmarks.traffic import OMIT_SECONDS, tcp
from scripts.benchmarks.tunnel import network
from scripts.figures import progress

SAMPLES_PER_SECOND = 200
MIN_SECONDS = 5


async def run(directory: Path, seconds: int) -> list[Path]:
    """Sample both processes during one upload; the SVGs. NconnectError without py-spy."""
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise NconnectError("py-spy is missing: pip install py-spy, or scripts/setup bench")
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    seconds = max(MIN_SECONDS, seconds)
    async with network() as net:
        up = await steps.start_up(net.lab, net.address)
        transfer = asyncio.create_task(tcp(net.lab, Party.USER, LAN_HOST, seconds + 2 * OMIT_SECONDS))
        await asyncio.sleep(OMIT_SECONDS)
        pids = {"up": up.pid, "serve": net.serve.pid}
        files = {name: directory / f"flame-{name}.svg" for name in pids}
        await asyncio.gather(*(_record(program, name, pids[name], files[name], seconds) for name in pids))
        progress(f"  profiled at {(await transfer).mbit:,.0f} Mbit/s, which sampling slows down")
    return list(files.values())


async def _record(program: str, name: str, pid: int, file: Path, seconds: int) -> None:
    # Not --native, which stops the process for each sample: it then does something else than without.
    options = ["--duration", str(seconds), "--rate", str(SAMPLES_PER_SECOND), "--function", "--nonblocking"]
    process = await asyncio.create_subprocess_exec(
        *(program, "record", "--pid", str(pid), "--output", str(file), "--format", "flamegraph", *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode:
        raise NconnectError(f"py-spy: {errors.decode(errors='replace').strip()}")
    await asyncio.to_thread(_set_title, file, f"nconnect {name}, one TCP stream from user to LAN")


def _set_title(file: Path, title: str) -> None:
    """py-spy's own title is its command line, with the paths of this machine."""
    file.write_text(re.sub(r'(<text id="title"[^>]*>)[^<]*', rf"\g<1>{title}", file.read_text()))
