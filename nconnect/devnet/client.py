"""One client's websocket at a node: what it sends, what waits for it, whether it is alive.

What waits for a client that reads slowly is buffered up to `MAX_BACKLOG`, then dropped: TCP's own pauses stay
invisible to sessions, and a client that does not read costs a bounded amount. (nknd has no buffer: its write
blocks for 10 s and then fails for good, which is how the time-out here ends too.)
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from nconnect.nkn.messages import MAX_FRAME_SIZE

if TYPE_CHECKING:
    from nconnect.devnet.node import Node

# Four windows of a session (4 MiB), one for each sub-client's path.
MAX_BACKLOG = 16 * 1024 * 1024
# What waits for all clients of a devnet together.
MAX_TOTAL_BACKLOG = 256 * 1024 * 1024
# Of a frame: unmasked, of any size (RFC 6455, 5.2).
MAX_HEADER = 10
# Below this a client is not slow, only not yet scheduled, and nothing is counted.
HIGH_WATER = 1024 * 1024

# The frame types by plain comparison: enum attribute look-ups cost as much as the rest of the callback.
_BINARY = WSMsgType.BINARY
_CONTINUATION = WSMsgType.CONTINUATION


class Backlog:
    """The slow clients of a devnet: those with more than `HIGH_WATER` bytes waiting."""

    __slots__ = ("slow",)

    def __init__(self) -> None:
        self.slow: set[Client] = set()

    @property
    def size(self) -> int:
        """Bytes that wait for all of them."""
        return sum(client.backlog for client in self.slow)


class Client(WSListener):
    """Lives as long as its websocket. The node sets `address` and what follows it when the client joins."""

    def __init__(self, node: Node, backlog: Backlog) -> None:
        self._node = node
        self._backlog = backlog
        self._transport: WSTransport | None = None
        self._is_slow = False
        # Fragments of a message that is not complete yet, and the type of the first.
        self._fragments = bytearray()
        self._fragmented: WSMsgType | None = None

        self.challenge = b""
        self.address = ""
        """As the client spelled it; empty until it has joined."""
        self.source = ""
        """With the key in lower case, as its receivers are shown it (nknd AssembleClientAddress)."""
        self.client_id = b""
        self.dice = random.Random(0)
        """Decides what shaping does to the messages that this client sends."""

        self._heard = True
        self._last_heard = self._last_ping = self._last_progress = asyncio.get_running_loop().time()
        self._queued = self._drained = 0

    # --- picows callbacks ---

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=HIGH_WATER)
        self._node.connected(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard = True
        kind = frame.msg_type
        if kind is _BINARY and frame.fin:
            self._node.receive_binary(self, frame.get_payload_as_memoryview())
        elif kind is WSMsgType.PING:
            # Answered here and not by picows, so that a flood of pings is bounded as all else is.
            if self._has_room(frame.payload_size):
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif kind is not WSMsgType.PONG:
            self._assemble(kind, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._backlog.slow.discard(self)
        self._node.disconnected(self)

    def pause_writing(self) -> None:
        self._is_slow = True
        self._backlog.slow.add(self)

    def resume_writing(self) -> None:
        self._is_slow = False
        self._backlog.slow.discard(self)

    # --- used by the node ---

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent to this client."""
        assert self._transport is not None
        return self._transport.underlying_transport.get_write_buffer_size()

    @property
    def reached_host(self) -> str:
        """The address of ours that the client connected to."""
        assert self._transport is not None
        host: str = self._transport.underlying_transport.get_extra_info("sockname")[0]
        return host

    @property
    def has_tls(self) -> bool:
        """Whether the client came by TLS; it is sent to TLS ports only, then."""
        assert self._transport is not None
        return self._transport.underlying_transport.get_extra_info("ssl_object") is not None

    def send_binary(self, message: bytes) -> bool:
        """Send a message; False if it was dropped because too much waits already."""
        return self._send(_BINARY, message)

    def send_text(self, text: str) -> bool:
        """The same for the JSON texts."""
        return self._send(WSMsgType.TEXT, text.encode())

    def abort(self) -> None:
        """Cut the connection, with all that waits."""
        if self._transport is not None:
            self._transport.disconnect(graceful=False)

    def tick(self, now: float, ping_interval: float, silence_timeout: float) -> bool:
        """Ping when it is time to; False if the client has been silent, or has not read, for too long."""
        assert self._transport is not None
        if self._heard:
            self._heard = False
            self._last_heard = now
        waiting = self.backlog
        drained = self._queued - waiting
        if not waiting or drained > self._drained:
            self._drained = drained
            self._last_progress = now
        if now - min(self._last_heard, self._last_progress) > silence_timeout:
            return False
        if now - self._last_ping >= ping_interval:
            self._last_ping = now
            self._transport.send_ping()
        return True

    # --- details ---

    def _send(self, kind: WSMsgType, data: bytes) -> bool:
        if self._is_slow and not self._has_room(len(data)):
            return False
        assert self._transport is not None
        self._transport.send(kind, data)
        self._queued += len(data)
        return True

    def _has_room(self, size: int) -> bool:
        size += MAX_HEADER
        return not self._is_slow or (
            self.backlog + size <= MAX_BACKLOG and self._backlog.size + size <= MAX_TOTAL_BACKLOG
        )

    def _assemble(self, kind: WSMsgType, frame: WSFrame) -> None:
        """Texts, and messages in several frames."""
        if (kind is _CONTINUATION) != (self._fragmented is not None):
            self._refuse(WSCloseCode.PROTOCOL_ERROR, b"fragments out of order")
            return
        if len(self._fragments) + frame.payload_size > MAX_FRAME_SIZE:
            self._refuse(WSCloseCode.MESSAGE_TOO_BIG, b"message too big")
            return
        self._fragmented = self._fragmented or kind
        self._fragments += frame.get_payload_as_memoryview()
        if not frame.fin:
            return
        kind, message = self._fragmented, bytes(self._fragments)
        self._fragmented = None
        self._fragments.clear()
        if kind is _BINARY:
            self._node.receive_binary(self, memoryview(message))
        else:
            self._node.receive_text(self, message)

    def _refuse(self, code: WSCloseCode, reason: bytes) -> None:
        assert self._transport is not None
        self._transport.send_close(code, reason)
        self._transport.disconnect()
