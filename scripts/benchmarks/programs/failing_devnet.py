"""A devnet one of whose nodes dies when this process gets SIGUSR1, and is there again when it gets SIGUSR2.

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
    stop, die, return_ = asyncio.Event(), asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, die.set)
    loop.add_signal_handler(signal.SIGUSR2, return_.set)
    async with Devnet(config) as devnet:

        async def die_and_return() -> None:
            await die.wait()
            await devnet.stop_node(victim)
            print("a node is down", flush=True)
            await return_.wait()
            await devnet.start_node(victim)
            print("it is up", flush=True)

        fate = asyncio.create_task(die_and_return())
        print(f"--seed-rpc {devnet.rpc_url}", flush=True)
        await stop.wait()
        fate.cancel()


if __name__ == "__main__":
    listen, nodes, latency, rate, victim, *more = sys.argv[1:]
    places = dict(parse_place(text) for text in more if text != "--place")
    config = DevnetConfig(int(nodes), listen, latency_ms=float(latency), rate_mbit=float(rate), places=places)
    uvloop.run(run(config, int(victim)))
