"""Strangers who knock at a provider's door, many a second, each with a key and a websocket of its own.

A knock is the first packet of a session, with an ID that was never used, sealed and signed beforehand. Some
strangers go on: they make the TLS handshake and hear that they are not let in.

::

    python -m scripts.benchmarks.programs.knocks SEED_RPC ADDRESS RATE KEYS

ADDRESS `nobody` sends the same to a client of this process, who throws it away: what the network and this
program take, and no provider. Says "ready"; knocks until it is stopped, and prints how often it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import sys
from collections.abc import Iterator

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from nconnect.errors import NconnectError
from nconnect.ncp import Connection
from nconnect.nkn.addresses import Address, sub_client_address
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import (
    AUTH_CHALLENGE,
    SET_CLIENT,
    Signer,
    decode_node_text,
    encode_session_message,
    encode_session_payload,
    encode_set_client,
    new_message_id,
)
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.rpc import RPCClient
from nconnect.secure.identity import Identity
from nconnect.tunnel.control import Hello
from nconnect.tunnel.link import OVERLAY_SESSION, Link

NOBODY = "nobody"
TICK = 0.01
TIMEOUT = 10.0
# Knocks that are made beforehand, in turn by all; then they begin again, and IDs come twice.
MADE = 20_000
# Strangers who go on, and how long they wait between two knocks: more than a provider hears.
PATIENT = 20
PATIENT_SECONDS = 1.0


class Stranger(WSListener):
    """One websocket, to the node that is responsible for the key. It hears nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.key = KeyPair.generate()
        self.address = self.key.public_key.hex()
        self.transport: WSTransport
        self._joined: asyncio.Future[Signer] = asyncio.get_running_loop().create_future()

    async def join(self, rpc: RPCClient) -> Signer:
        node = await rpc.get_ws_addr(self.address)
        async with asyncio.timeout(TIMEOUT):
            await ws_connect(lambda: self, f"ws://{node.addr}/")
            return await self._joined

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        text = decode_node_text(frame.get_payload_as_bytes())
        if text.action == AUTH_CHALLENGE:
            transport.send(WSMsgType.TEXT, encode_set_client(self.address, self.key, text.challenge).encode())
        elif text.action == SET_CLIENT and not self._joined.done():
            self._joined.set_result(Signer(self.key, self.address, text.node.public_key, text.block_hash))


def handshake() -> bytes:
    """The first packet of a session."""
    connection = Connection(OVERLAY_SESSION, local_ids=["__0__"])
    connection.connect(0.0)
    return next(iter(connection.transmit(0.0))).data


async def strangers(seed_rpc: str, target: str, keys: int) -> Iterator[tuple[Stranger, bytes]]:
    """Everybody with a knock, in turn, for ever."""
    peer, packet = Address.parse(target).public_key, handshake()
    made = []
    rpc = RPCClient((seed_rpc,))
    everybody = [Stranger() for _ in range(keys)]
    signers = [await stranger.join(rpc) for stranger in everybody]
    for number in range(MADE):
        stranger, signer = everybody[number % keys], signers[number % keys]
        # To the provider's four sub-clients in turn.
        dest = target if len(sys.argv[2]) < 64 else sub_client_address(target, number // keys % 4)
        plaintext = encode_session_payload(new_message_id(), packet)
        made.append(
            (stranger, encode_session_message(signer, dest, plaintext, stranger.key.shared_key(peer)))
        )
    return itertools.cycle(made)


async def knock_patiently(seed_rpc: str, target: str) -> None:
    """Knock by the whole protocol, again and again."""
    key = KeyPair.generate()
    async with MultiClient(key, "", ClientConfig(seed_rpc=(seed_rpc,), sub_clients=1)) as client:
        while True:
            with contextlib.suppress(NconnectError):
                session = await client.dial(target, OVERLAY_SESSION)
                try:
                    link = await Link.open(session, Identity(key.seed), server=False)
                    link.send(Hello(frozenset(), "stranger"))
                    await link.receive()
                finally:
                    session.abort()
            await asyncio.sleep(PATIENT_SECONDS)


async def main(seed_rpc: str, address: str, rate: float, keys: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    target = address
    if address == NOBODY:
        nobody = Stranger()
        rpc = RPCClient((seed_rpc,))
        await nobody.join(rpc)
        target = nobody.address
    knocks = await strangers(seed_rpc, target, keys)
    patient = [] if address == NOBODY else [knock_patiently(seed_rpc, target) for _ in range(PATIENT)]
    tasks = [asyncio.create_task(one) for one in patient]
    print("ready", flush=True)
    start, sent = loop.time(), 0
    while not stop.is_set():
        due = int((loop.time() - start) * rate)
        for stranger, frame in itertools.islice(knocks, due - sent):
            stranger.transport.send(WSMsgType.BINARY, frame)
        sent = due
        await asyncio.sleep(TICK)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(f"{sent / (loop.time() - start):.0f} knocks a second", flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
