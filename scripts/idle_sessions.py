"""Prints the bytes of memory that one end of an idle session takes, with four paths. For scripts/bench.

Both ends of a thousand sessions are in this process, and a devnet.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from pathlib import Path

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient

DIALLERS = 4
# So many of each dialler at a time, because a listener keeps no more dials of one peer.
AT_ONCE = 16
ROUNDS = 14
SESSIONS = DIALLERS * AT_ONCE * ROUNDS


def memory() -> int:
    """Resident bytes of this process."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def measure() -> float:
    async with Devnet(DevnetConfig(listen="127.0.0.1:0")) as devnet:
        config = ClientConfig(seed_rpc=(devnet.rpc_url,))
        clients = [MultiClient(KeyPair.generate(), "", config) for _ in range(DIALLERS + 1)]
        await asyncio.gather(*(client.connect() for client in clients))
        await asyncio.gather(*(client.wait_paths(config.sub_clients) for client in clients))
        acceptor, *diallers = clients
        listener = acceptor.listen()

        async def open_some() -> None:
            dials = (client.dial(acceptor.address) for client in diallers for _ in range(AT_ONCE))
            accepts = (listener.accept() for _ in range(DIALLERS * AT_ONCE))
            kept.extend(await asyncio.gather(*dials, *accepts))

        kept: list[object] = []
        # What is made once is there after the first.
        await open_some()
        before = memory()
        for _ in range(ROUNDS):
            await open_some()
        grown = memory() - before
        await asyncio.gather(*(client.close() for client in clients))
        return grown / (2 * SESSIONS)


if __name__ == "__main__":
    print(round(asyncio.run(measure())))
