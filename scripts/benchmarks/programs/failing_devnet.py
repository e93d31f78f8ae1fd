"""A devnet one of whose nodes dies when this process gets SIGUSR1.

::

    python -m scripts.benchmarks.programs.failing_devnet LISTEN NODES LATENCY_MS RATE_MBIT VICTIM
        [--place KEY:I,J,…]…
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.devnet.config import parse_place


async def run(config: DevnetConfig, victim: int) -> None:
    loop = asyncio.get_running_loop()
    stop, die = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, die.set)
    async with Devnet(config) as devnet:

        async def wait_for_death() -> None:
            await die.wait()
            await devnet.stop_node(victim)

        waiting = asyncio.create_task(wait_for_death())
        print(f"--seed-rpc {devnet.rpc_url}", flush=True)
        await stop.wait()
        waiting.cancel()


if __name__ == "__main__":
    listen, nodes, latency, rate, victim, *more = sys.argv[1:]
    places = dict(parse_place(text) for text in more if text != "--place")
    config = DevnetConfig(int(nodes), listen, latency_ms=float(latency), rate_mbit=float(rate), places=places)
    uvloop.run(run(config, int(victim)))
