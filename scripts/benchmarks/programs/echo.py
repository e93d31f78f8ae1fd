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
from collections.abc import Callable

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import (
    AUTH_CHALLENGE,
    SET_CLIENT,
    Signer,
    decode_node_text,
    encode_outbound,
    encode_set_client,
)
from nconnect.nkn.rpc import RPCClient

ASKER, ANSWERER = (KeyPair.from_seed(number.to_bytes(32)) for number in (1, 2))
# As pings come in the benchmark: idle in between, so that every process has gone to sleep.
INTERVAL = 0.02
# As a ping of 84 bytes is once it is sealed, more or less; at this size bytes cost nothing.
CONTENT = bytes(200)
TIMEOUT = 5.0


class Client(WSListener):
    """One websocket, to the node that is responsible for the key."""

    def __init__(self, key: KeyPair, on_message: Callable[[], None]) -> None:
        super().__init__()
        self._key = key
        self._address = key.public_key.hex()
        self._on_message = on_message
        self._transport: WSTransport
        self._joined: asyncio.Future[Signer] = asyncio.get_running_loop().create_future()
        self._frame = b""

    @classmethod
    async def join(cls, key: KeyPair, peer: KeyPair, seed_rpc: str, on_message: Callable[[], None]) -> Client:
        """Connect; what `send` sends goes to `peer`."""
        client = cls(key, on_message)
        async with RPCClient((seed_rpc,)) as rpc:
            node = await rpc.get_ws_addr(client._address)
        async with asyncio.timeout(TIMEOUT):
            await ws_connect(lambda: client, f"ws://{node.addr}/")
            signer = await client._joined
        client._frame = encode_outbound(signer, [peer.public_key.hex()], [CONTENT])
        return client

    def send(self) -> None:
        """Send one message, made beforehand."""
        self._transport.send(WSMsgType.BINARY, self._frame)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            self._on_message()
        elif frame.msg_type == WSMsgType.TEXT:
            text = decode_node_text(frame.get_payload_as_bytes())
            if text.action == AUTH_CHALLENGE:
                request = encode_set_client(self._address, self._key, text.challenge)
                transport.send(WSMsgType.TEXT, request.encode())
            elif text.action == SET_CLIENT:
                self._joined.set_result(
                    Signer(self._key, self._address, text.node.public_key, text.block_hash)
                )


async def answer(seed_rpc: str) -> None:
    client = await Client.join(ANSWERER, ASKER, seed_rpc, lambda: client.send())
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(seed_rpc: str, count: int) -> float:
    back = asyncio.Event()
    client = await Client.join(ASKER, ANSWERER, seed_rpc, back.set)
    times = []
    for _ in range(count):
        await asyncio.sleep(INTERVAL)
        back.clear()
        # Not the loop's time, which uvloop counts in milliseconds.
        start = time.perf_counter()
        client.send()
        async with asyncio.timeout(TIMEOUT):
            await back.wait()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        uvloop.run(answer(sys.argv[2]))
    else:
        print(uvloop.run(ask(sys.argv[2], int(sys.argv[3]))))
