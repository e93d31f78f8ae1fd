"""A node that can misbehave, and the stubs with which a sub-client meets it alone.

The devnet shows what nodes do; this shows what they should not do, and what only old ones do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from nconnect.nkn import messages
from nconnect.nkn.client import SubClient
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import ErrorCode, Inbound, NodeInfo, SetClient
from nconnect.nkn.rpc import RPCClient

from .waiting import PATIENCE

QUICK = ClientConfig(
    seed_rpc=("http://127.0.0.1:1",),
    websocket_timeout=2.0,
    challenge_timeout=2.0,
    join_timeout=2.0,
    ping_interval=0.05,
    silence_timeout=2.0,
    reconnect_min=0.01,
    reconnect_max=0.05,
    connect_timeout=5.0,
)

Answer = Callable[[SetClient], str | None]


class FakeNode:
    """One websocket server; what it does is in its attributes, what it saw as well."""

    def __init__(self) -> None:
        self.public_key = b"\xee" * 32
        self.challenge: bytes | None = b"\xab" * 32
        self.answer: Answer = lambda request: messages.encode_joined(self.info, b"\x11" * 32)
        self.answers_pings = True
        self.requests: list[SetClient] = []
        self.frames: list[bytes] = []
        self.connections: list[WSTransport] = []
        self.pings = self.pongs = 0
        self.changed = asyncio.Event()
        self._server: asyncio.Server
        self.addr = ""

    async def start(self, port: int = 0) -> FakeNode:
        """Listen on loopback."""
        self._server = await ws_create_server(self._make, "127.0.0.1", port, enable_auto_pong=False)
        self.addr = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def stop(self) -> None:
        """Drop all clients and listen no more."""
        self._server.close()
        for connection in self.connections:
            connection.disconnect(graceful=False)
        await asyncio.sleep(0)

    @property
    def info(self) -> NodeInfo:
        """This node, as others name it."""
        return NodeInfo(self.addr, "", self.public_key, b"\x22" * 32)

    def wrong_node(self, right: FakeNode) -> str:
        """The text that sends a client to another node."""
        return messages.encode_node_text(messages.SET_CLIENT, ErrorCode.WRONG_NODE, right.info.to_json())

    def send_text(self, text: str | bytes) -> None:
        """To the latest client."""
        self.connections[-1].send(WSMsgType.TEXT, text)

    def send_frame(self, frame: bytes) -> None:
        """To the latest client."""
        self.connections[-1].send(WSMsgType.BINARY, frame)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what this node saw fulfils a condition."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def _make(self, request: WSUpgradeRequest) -> WSListener:
        return _Client(self)


class _Client(WSListener):
    def __init__(self, node: FakeNode) -> None:
        super().__init__()
        self._node = node

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._node.connections.append(transport)
        if self._node.challenge is not None:
            transport.send(WSMsgType.TEXT, messages.encode_challenge(self._node.challenge))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        node = self._node
        if frame.msg_type == WSMsgType.TEXT:
            request = messages.decode_client_text(frame.get_payload_as_bytes())
            assert isinstance(request, SetClient)
            node.requests.append(request)
            answer = node.answer(request)
            if answer is not None:
                transport.send(WSMsgType.TEXT, answer)
        elif frame.msg_type == WSMsgType.BINARY:
            node.frames.append(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.PING:
            node.pings += 1
            if node.answers_pings:
                transport.send_pong()
        elif frame.msg_type == WSMsgType.PONG:
            node.pongs += 1
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        node.changed.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._node.changed.set()

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


class StubRPC(RPCClient):
    """Names the nodes in turn, the last one for ever; raises what is an exception."""

    def __init__(self, answers: Sequence[FakeNode | Exception]) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self.answers = list(answers)
        self.asked: list[str] = []

    async def get_ws_addr(self, address: str) -> NodeInfo:
        self.asked.append(address)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer.info


class Alone:
    """The owner of one sub-client: records what it is told."""

    def __init__(self, rpc: RPCClient, config: ClientConfig = QUICK) -> None:
        self.key = KeyPair.from_seed(b"\x01" * 32)
        self.base = "alice." + self.key.public_key.hex()
        self.client = SubClient(self.key, self.base, 1, config, rpc, self)
        self.inbound: list[Inbound] = []
        self.error: Exception | None = None
        self.lost = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Alone:
        self.client.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.client.close()

    def on_inbound(self, client: SubClient, message: Inbound) -> None:
        self.inbound.append(message)
        self._changed.set()
        if self.error is not None:
            raise self.error

    def on_path(self, client: SubClient, *, lost: bool) -> None:
        self.lost += lost
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what the sub-client is or said fulfils a condition."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_ready(self) -> None:
        """Wait until it has joined."""
        await self.until(lambda: self.client.ready)
