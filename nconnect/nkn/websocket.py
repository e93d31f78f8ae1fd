"""One websocket to a node: frames in by callback, frames out, pings, silence, and room to write.

picows does the framing. Its frames point into the read buffer, so a handler must be done with a frame when
it returns.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import struct
from typing import Protocol

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSParsedURL, WSTransport, ws_connect

from nconnect.errors import NetworkError
from nconnect.nkn.messages import MAX_FRAME_SIZE
from nconnect.nkn.tcp import Cork, connect_failure, connect_tcp

logger = logging.getLogger(__name__)
# picows reports each connection, and what a handler raised by its text alone: `WebSocket` says why one ended.
_picows_logger = logging.getLogger("picows.nkn")
_picows_logger.setLevel(logging.CRITICAL)

# A node sends at most MAX_FRAME_SIZE of message; the fields around an inbound message come on top.
MAX_WEBSOCKET_FRAME = MAX_FRAME_SIZE + 64 * 1024

# Bytes that may wait here for the kernel before the path counts as full: two messages of the largest
# session packet (128 KiB). What waits here delays everything behind it and can take no other path any more,
# so it is no more than keeps the kernel's buffer from running dry between two turns of the event loop.
WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024

# How often a connection is looked at whose node owes an acknowledgement, and how long it may owe one. Three
# retransmissions of TCP go unanswered in that time; a node that is only busy has a kernel that answers.
CHECK_INTERVAL = 0.5
UNACKNOWLEDGED_TIMEOUT = 2.0
# Or so many of its round trips with their jitter, where a deep queue makes them long.
UNACKNOWLEDGED_ROUND_TRIPS = 3
# struct tcp_info of linux/tcp.h: tcpi_probes, tcpi_unacked, tcpi_last_ack_recv (ms), tcpi_rtt and
# tcpi_rttvar (µs).
_TCP_INFO = struct.Struct("=3xB20xI28xI8xII")

# How long close() lets the other side answer before the socket is torn down.
CLOSE_TIMEOUT = 1.0

_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[0-9A-Za-z.-]+):([0-9]{1,5})")


def unacknowledged_for(connection: socket.socket) -> tuple[float, float]:
    """Seconds since the other side's kernel last answered, if it owes an answer to what was sent, else 0; and
    for how many it may owe one."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    probes, unacknowledged, last_ack_ms, rtt, variation = _TCP_INFO.unpack(info)
    # Not the kernel's own retransmission time-out, which doubles with each that goes unanswered.
    round_trip = (rtt + 4 * variation) / 1e6
    allowed = max(UNACKNOWLEDGED_TIMEOUT, UNACKNOWLEDGED_ROUND_TRIPS * round_trip)
    return (last_ack_ms / 1000 if unacknowledged or probes else 0.0), allowed


class Handler(Protocol):
    """What a `WebSocket` calls. Exceptions from these are errors of the program."""

    def on_connected(self, websocket: WebSocket) -> None:
        """The connection is open; nothing has come over it yet."""

    def on_disconnected(self) -> None:
        """The connection is gone; nothing comes any more."""

    def on_text(self, text: bytes) -> None:
        """A text frame."""

    def on_binary(self, frame: memoryview | bytes) -> None:
        """A binary frame; a memoryview is valid only until this returns."""

    def on_writable(self, writable: bool) -> None:
        """The write buffer became too full, or has room again."""


class WebSocket(WSListener):
    """A connection to a node. Made by `connect`; over when `wait_closed` returns."""

    def __init__(
        self, handler: Handler, connection: socket.socket, ping_interval: float, silence_timeout: float
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._handler = handler
        self._connection = connection
        self._cork = Cork(connection)
        self._ping_interval = ping_interval
        self._silence_timeout = silence_timeout
        self._transport: WSTransport
        self._heard = self._pinged = self._checked = self._loop.time()
        self._owes_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fragments = bytearray()
        self._fragments_type: WSMsgType | None = None
        self._reason = ""
        self.writable = False
        self.bytes_sent = 0
        self.bytes_received = 0

    @classmethod
    async def connect(
        cls,
        addr: str,
        handler: Handler,
        *,
        tls: ssl.SSLContext | None = None,
        socket_mark: int,
        connect_timeout: float,
        ping_interval: float,
        silence_timeout: float,
    ) -> WebSocket:
        """Connect to ``host:port``, by TLS if ``tls`` says whom to trust.

        NetworkError says why it could not be done.
        """
        match = _HOST_PORT.fullmatch(addr)
        if match is None or not 0 < int(match[2]) < 65536:
            raise NetworkError(f"the node's address {addr[:100]!r} is not host:port")

        made: list[socket.socket] = []

        async def factory(url: WSParsedURL) -> socket.socket:
            made.append(await connect_tcp(url.host, url.port, socket_mark))
            return made[-1]

        try:
            async with asyncio.timeout(connect_timeout):
                _, connection = await ws_connect(
                    lambda: cls(handler, made[-1], ping_interval, silence_timeout),
                    f"{'wss' if tls else 'ws'}://{addr}/",
                    ssl_context=tls,
                    socket_factory=factory,
                    max_frame_size=MAX_WEBSOCKET_FRAME,
                    # Answered here: picows would answer without telling us that the node was heard.
                    enable_auto_pong=False,
                    max_redirects=0,
                    websocket_handshake_timeout=connect_timeout,
                    logger_name=_picows_logger,
                )
        except TimeoutError as error:
            raise NetworkError(f"node {addr} did not answer in {connect_timeout:g} s") from error
        except OSError as error:
            host, _, port = addr.rpartition(":")
            reason = connect_failure(error, host, int(port))
            raise NetworkError(f"cannot connect to node {addr}: {reason}") from error
        except (WSError, ValueError) as error:
            raise NetworkError(f"cannot connect to node {addr}: {error}") from error
        assert isinstance(connection, cls)
        return connection

    # --- out ---

    def send_text(self, text: str) -> None:
        """Send a text frame; nothing once the connection is closing."""
        self._transport.send(WSMsgType.TEXT, text.encode())

    def send_binary(self, frame: bytes) -> None:
        """Send a binary frame, which is copied; nothing once the connection is closing.

        `writable` may be False when this returns: the caller should stop then.
        """
        self.bytes_sent += len(frame)
        self._cork.before_write(len(frame))
        self._transport.send(WSMsgType.BINARY, frame)

    @property
    def queued(self) -> int:
        """Bytes that wait for the kernel."""
        size: int = self._transport.underlying_transport.get_write_buffer_size()
        return size

    def drop(self, reason: str) -> None:
        """End the connection, giving the node a chance to hear why."""
        self._end(reason)
        self._transport.send_close(WSCloseCode.OK)
        self._transport.disconnect()

    def abort(self, reason: str) -> None:
        """End the connection at once."""
        self._end(reason)
        self._transport.disconnect(graceful=False)

    def _end(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self.writable:
            self.pause_writing()

    async def wait_closed(self) -> str:
        """Wait until the connection is over; why it ended."""
        try:
            await self._transport.wait_disconnected()
        except WSError as error:
            self._reason = self._reason or str(error)
        except Exception as error:
            # A handler raised: an error of the program, which may cost the connection but not the client.
            logger.exception("a handler of the websocket failed")
            self._reason = self._reason or f"internal error: {error}"
        return self._reason or "the node closed the connection"

    async def close(self, reason: str = "closed") -> None:
        """End the connection and wait until it is over."""
        self.drop(reason)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.wait_closed()
        except TimeoutError:
            self.abort(reason)
            await self.wait_closed()

    # --- in ---

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self.writable = True
        self._arm()
        self._handler.on_connected(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard = self._loop.time()
        kind = frame.msg_type
        if kind == WSMsgType.BINARY and frame.fin:
            self.bytes_received += frame.payload_size
            self._handler.on_binary(frame.get_payload_as_memoryview())
        elif kind == WSMsgType.TEXT and frame.fin:
            self._handler.on_text(frame.get_payload_as_bytes())
        elif kind == WSMsgType.PING:
            # A node that floods us with pings while its reading has stopped gets no pongs.
            if self.writable:
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self.drop(f"the node closed the connection ({frame.get_close_code()})")
        elif kind != WSMsgType.PONG:
            self._on_fragment(frame)

    def _on_fragment(self, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.CONTINUATION:
            self._fragments_type = frame.msg_type
            self._fragments.clear()
        elif self._fragments_type is None:
            self.abort("the node sent a continuation of nothing")
            return
        self._fragments += frame.get_payload_as_memoryview()
        if len(self._fragments) > MAX_WEBSOCKET_FRAME:
            self.abort("the node sent a message that is too large")
        elif frame.fin:
            message, kind = bytes(self._fragments), self._fragments_type
            self._fragments.clear()
            self._fragments_type = None
            if kind == WSMsgType.TEXT:
                self._handler.on_text(message)
            else:
                self.bytes_received += len(message)
                self._handler.on_binary(message)

    def pause_writing(self) -> None:
        self.writable = False
        self._handler.on_writable(False)

    def resume_writing(self) -> None:
        if self._reason:
            return
        self.writable = True
        self._handler.on_writable(True)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.writable = False
        if self._timer is not None:
            self._timer.cancel()
        self._handler.on_disconnected()

    # --- keeping alive ---

    def _arm(self) -> None:
        due = min(
            self._pinged + self._ping_interval,
            self._heard + self._silence_timeout,
            self._checked + CHECK_INTERVAL,
        )
        self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        now = self._loop.time()
        if now >= self._heard + self._silence_timeout:
            self.abort(f"the node was silent for {self._silence_timeout:g} s")
            return
        if (silent := self._owes_for(now)) > 0:
            self.abort(f"nothing of the node was heard for {silent:.1f} s under traffic")
            return
        if now >= self._pinged + self._ping_interval:
            self._pinged = now
            if self.writable:
                self._transport.send_ping()
        self._arm()

    def _owes_for(self, now: float) -> float:
        """Seconds for which the node's machine has owed us an acknowledgement, once they are too many."""
        self._checked = now
        silent, allowed = unacknowledged_for(self._connection)
        if not silent:
            self._owes_since = None
            return 0.0
        if self._owes_since is None:
            self._owes_since = now
        # No longer than we have looked: while this process stood still, nobody did.
        silent = min(silent, now - self._owes_since)
        return silent if silent >= allowed else 0.0

    # --- changes of the network ---

    def has_address(self) -> bool:
        """Whether this machine still has the address that the connection comes from."""
        try:
            local = self._connection.getsockname()
            with socket.socket(self._connection.family, socket.SOCK_DGRAM) as probe:
                probe.bind((local[0], 0, *local[2:]))
        except OSError:
            return False
        return True
