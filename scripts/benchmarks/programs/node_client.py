"""A client of one node by one bare websocket: what it is sent goes to a callback, and that is all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import AUTH_CHALLENGE, SET_CLIENT, Signer, decode_node_text, encode_set_client
from nconnect.nkn.rpc import RPCClient

TIMEOUT = 5.0


class NodeClient(WSListener):
    """One websocket, to the node that is responsible for the key. Made by `join`."""

    def __init__(self, key: KeyPair, on_frame: Callable[[memoryview], None]) -> None:
        super().__init__()
        self._key = key
        self._address = key.public_key.hex()
        self._on_frame = on_frame
        self._transport: WSTransport
        self._joined: asyncio.Future[Signer] = asyncio.get_running_loop().create_future()

    @classmethod
    async def join(
        cls, key: KeyPair, seed_rpc: str, on_frame: Callable[[memoryview], None]
    ) -> tuple[NodeClient, Signer]:
        """Connect; the signer is for the messages that `send` takes."""
        client = cls(key, on_frame)
        rpc = RPCClient((seed_rpc,))
        node = await rpc.get_ws_addr(client._address)
        async with asyncio.timeout(TIMEOUT):
            await ws_connect(lambda: client, f"ws://{node.addr}/")
            return client, await client._joined

    def send(self, frame: bytes) -> None:
        """Send a message."""
        self._transport.send(WSMsgType.BINARY, frame)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            self._on_frame(frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.TEXT:
            text = decode_node_text(frame.get_payload_as_bytes())
            if text.action == AUTH_CHALLENGE:
                request = encode_set_client(self._address, self._key, text.challenge)
                transport.send(WSMsgType.TEXT, request.encode())
            elif text.action == SET_CLIENT:
                self._joined.set_result(
                    Signer(self._key, self._address, text.node.public_key, text.block_hash)
                )
