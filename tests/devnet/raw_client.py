"""A client that speaks the protocol by hand, so that it can also speak it wrongly."""

from __future__ import annotations

import asyncio
import json
import ssl
from types import TracebackType
from typing import Any

import aiohttp

from nconnect.devnet import Devnet
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import (
    Inbound,
    NodeText,
    Signer,
    decode_frame,
    decode_node_text,
    encode_outbound,
    encode_receipt,
    encode_set_client,
)

# Everything is on one machine and takes milliseconds; this is for a busy one.
TIMEOUT = 5.0


class RawClient:
    """One websocket to one node. An async context manager, which does not connect by itself."""

    def __init__(self, seed: int | KeyPair = 1, identifier: str = "") -> None:
        self.key = seed if isinstance(seed, KeyPair) else KeyPair.from_seed(seed.to_bytes(32))
        public_key = self.key.public_key.hex()
        self.address = f"{identifier}.{public_key}" if identifier else public_key
        self.challenge = b""
        self.node: NodeText | None = None
        self._session = aiohttp.ClientSession()
        self._websocket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    @property
    def websocket(self) -> aiohttp.ClientWebSocketResponse:
        assert self._websocket is not None
        return self._websocket

    async def connect(
        self, devnet: Devnet, index: int | None = None, autoping: bool = True, tls: bool = False
    ) -> None:
        """Connect to a node, the right one if none is named, and take its challenge."""
        if index is None:
            index = devnet.responsible(self.address)
        assert index is not None
        node = devnet.nodes[index]
        url = f"wss://127.0.0.1:{node.tls_port}" if tls else f"ws://127.0.0.1:{node.port}"
        trust = ssl.create_default_context(cadata=devnet.certificate) if tls else True
        self._websocket = await self._session.ws_connect(url, autoping=autoping, max_msg_size=0, ssl=trust)
        text = await self.receive_text()
        assert text.action == "authChallenge"
        self.challenge = text.challenge

    async def set_client(self, **changes: Any) -> NodeText:
        """Ask to be served, with a right signature unless changed; the answer."""
        request = json.loads(encode_set_client(self.address, self.key, self.challenge))
        await self.send_json({**request, **changes})
        return await self.receive_text()

    async def join(self, devnet: Devnet, index: int | None = None) -> None:
        """Connect and be served."""
        await self.connect(devnet, index)
        answer = await self.set_client()
        assert answer.error == 0, answer
        self.node = answer

    async def send(
        self, dests: str | list[str], *contents: bytes, holding: int = 0, key: KeyPair | None = None
    ) -> None:
        """Send messages, signed with ``key`` if it is given; ``contents`` stand for envelopes."""
        await self.websocket.send_bytes(self.encode(dests, *contents, holding=holding, key=key))

    def encode(
        self, dests: str | list[str], *contents: bytes, holding: int = 0, key: KeyPair | None = None
    ) -> bytes:
        """The frame that `send` sends."""
        assert self.node is not None
        signer = Signer(key or self.key, self.address, self.node.node.public_key, self.node.block_hash)
        dests = [dests] if isinstance(dests, str) else dests
        return encode_outbound(signer, dests, contents, max_holding_seconds=holding)

    async def send_json(self, value: object) -> None:
        await self.websocket.send_str(json.dumps(value))

    async def send_receipt(self, prev_hash: bytes, key: KeyPair | None = None) -> None:
        await self.websocket.send_bytes(encode_receipt(key or self.key, prev_hash))

    async def receive_text(self) -> NodeText:
        """The next message, which must be a text of the node."""
        async with asyncio.timeout(TIMEOUT):
            return decode_node_text(await self.websocket.receive_str())

    async def receive(self) -> Inbound:
        """The next message, which must be one from a client."""
        async with asyncio.timeout(TIMEOUT):
            message = decode_frame(await self.websocket.receive_bytes())
        assert isinstance(message, Inbound)
        return message

    async def receive_close(self) -> int | None:
        """Wait until the node hangs up; the websocket's close code."""
        async with asyncio.timeout(TIMEOUT):
            while not self.websocket.closed:
                await self.websocket.receive()
        return self.websocket.close_code

    async def barrier(self) -> None:
        """Return when the node has dealt with all that was sent before, and we have read all its messages."""
        await self.send_json({"Action": "barrier"})
        assert (await self.receive_text()).description == "INVALID METHOD"
