"""A message through the relay and back, over bare websockets: no session, no box, no TUN device.

What this takes, two clients in Python and the relay between them take whatever they do with messages; the
rest of a ping through the tunnel is the tunnel's own.

::

    python -m scripts.benchmarks.programs.echo answer SEED_RPC         says "ready"
    python -m scripts.benchmarks.programs.echo ask SEED_RPC COUNT      prints the median in milliseconds
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import uvloop

from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Signer, encode_outbound
from scripts.benchmarks.programs.node_client import TIMEOUT, NodeClient

ASKER, ANSWERER = (KeyPair.from_seed(number.to_bytes(32)) for number in (1, 2))
# As pings come in the benchmark: idle in between, so that every process has gone to sleep.
INTERVAL = 0.02
# As a ping of 84 bytes is once it is sealed, more or less; at this size bytes cost nothing.
CONTENT = bytes(200)


def message(signer: Signer, peer: KeyPair) -> bytes:
    """What is sent, again and again."""
    return encode_outbound(signer, [peer.public_key.hex()], [CONTENT])


async def answer(seed_rpc: str) -> None:
    client, signer = await NodeClient.join(ANSWERER, seed_rpc, lambda frame: client.send(reply))
    reply = message(signer, ASKER)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(seed_rpc: str, count: int) -> float:
    back = asyncio.Event()
    client, signer = await NodeClient.join(ASKER, seed_rpc, lambda frame: back.set())
    question = message(signer, ANSWERER)
    times = []
    for _ in range(count):
        await asyncio.sleep(INTERVAL)
        back.clear()
        # Not the loop's time, which uvloop counts in milliseconds.
        start = time.perf_counter()
        client.send(question)
        async with asyncio.timeout(TIMEOUT):
            await back.wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        uvloop.run(answer(sys.argv[2]))
    else:
        print(uvloop.run(ask(sys.argv[2], int(sys.argv[3]))))
