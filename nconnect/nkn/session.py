"""A session over a MultiClient: drives one NCP connection, and is read and written like any stream.

`nconnect.ncp.Connection` decides everything; what is here gives it time, packets and paths, and wakes who
waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from nconnect import ncp
from nconnect.errors import ClosedError, DialTimeoutError
from nconnect.nkn.addresses import split_sub_client
from nconnect.nkn.client import SubClient
from nconnect.nkn.messages import encode_session_payload

logger = logging.getLogger(__name__)

# What read() takes at once from a stream: large enough that its call costs nothing, small enough to share
# the loop.
READ_SIZE = 256 * 1024

# Packets that a session sends before everybody else has a turn. Each costs a signature and a box, whatever
# its size: without this, a peer that announces an MTU of 1 keeps the event loop busy with nothing but itself.
BURST = 128

# In what uvloop counts time, in seconds; and by what part of one two times that are a whole number of them
# apart may differ from that, for want of digits.
TICK = 0.001
ROUNDING = 0.001

MessageHandler = Callable[[bytes], None]
WritableHandler = Callable[[], None]
ClosedHandler = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class SessionPath:
    """One way of a session's packets. `Session.stats` has its figures."""

    index: int
    """Our sub-client's number, as in `MultiClient.paths`; -1 is the original client."""
    ready: bool
    """Whether that is at a node now, be its websocket full or not."""
    suspect: bool
    """Whether nothing that was sent here lately has arrived: other ways are taken if there are any."""


class Session:
    """One session with one peer; made by `MultiClient.dial` or `Listener.accept`.

    In stream mode use `read` and `write`; in the message modes `receive` and `send`, or `set_handlers` and
    `try_send` where an await for each message would cost too much.
    """

    def __init__(
        self,
        config: ncp.Config,
        clients: Sequence[SubClient],
        *,
        remote_address: str,
        remote_public_key: bytes,
        shared_key: bytes,
        session_id: bytes,
        on_end: Callable[[Session], None],
    ) -> None:
        self.remote_address = remote_address
        self.remote_public_key = remote_public_key
        self.id = session_id
        self._mode = config.mode
        self._connection = ncp.Connection(config, local_ids=[client.id for client in clients])
        self._clients = {client.id: client for client in clients}
        self._shared_key = shared_key
        self._destinations: dict[str, str] = {}
        self._blocked: set[str] = set()
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._draining = self._again = self._more = self._heaped = False
        self._established = asyncio.Event()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: Exception | None = None
        self._message_handler: MessageHandler | None = None
        self._writable_handler: WritableHandler | None = None
        self._closed_handler: ClosedHandler | None = None

    def __repr__(self) -> str:
        return f"<Session {self.id.hex()} with {self.remote_address}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            self.abort()

    # --- looking ---

    @property
    def send_mtu(self) -> int:
        """The largest message in bytes that `send` and `try_send` take."""
        return self._connection.send_mtu

    @property
    def message_size_hint(self) -> int:
        """How large the next message should be, in bytes: `send_mtu`, or less on slow paths.

        A message of this size takes some 2 ms of the path that is likely to take it, so that what comes next
        waits no longer than that. It changes with each ACK and each message: ask for every message anew. A
        message may be larger, for want of a way to cut what it carries.

        In the message modes `try_send` refuses while more waits than all paths together take in 5 ms, so what
        is to be sent waits with the caller, who knows what is urgent; one message is always taken.
        """
        return self._connection.message_size_hint

    @property
    def stats(self) -> ncp.Stats:
        """What was sent, received and sent again, in all and on each path."""
        return self._connection.stats

    @property
    def paths(self) -> tuple[SessionPath, ...]:
        """The ways that packets can take: those with which the session began, which both ends had then."""
        return tuple(
            SessionPath(self._clients[path.local_id].index, self._clients[path.local_id].ready, path.suspect)
            for path in self.stats.paths
        )

    @property
    def closed(self) -> bool:
        """Whether the session is over; what was received before can still be read."""
        return self._ended.is_set()

    @property
    def error(self) -> Exception | None:
        """Why the session broke; None while it lasts and if it ended in good order."""
        return self._error

    # --- stream mode ---

    async def read(self, n: int = -1) -> bytes:
        """Up to ``n`` bytes, at least one; all up to the end if ``n`` is negative; ``b""`` at the end.

        ClosedError if the session broke rather than ended.
        """
        if n >= 0:
            return await self._read(n)
        chunks = []
        while chunk := await self._read(READ_SIZE):
            chunks.append(chunk)
        return b"".join(chunks)

    async def _read(self, n: int) -> bytes:
        while n:
            data = self._connection.read(n, self._loop.time())
            if data:
                self._drain()
                return data
            if self.closed:
                if self._error is not None:
                    raise self._broken()
                break
            self._readable.clear()
            await self._readable.wait()
        return b""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``; waits while the peer, the network or the send buffer takes no more."""
        view = memoryview(data)
        while view:
            # Before the write: sending may make room again at once.
            self._writable.clear()
            view = view[self._write(view) :]
            if view:
                await self._writable.wait()

    # --- message modes ---

    async def receive(self) -> bytes:
        """The next message; ClosedError when the session is over."""
        while True:
            message = self._connection.receive_message(self._loop.time())
            if message is not None:
                self._drain()
                return message
            if self.closed:
                raise self._broken()
            self._readable.clear()
            await self._readable.wait()

    async def send(self, message: bytes) -> None:
        """Send one message of 1 to `send_mtu` bytes; waits while there is no room for it."""
        self._writable.clear()
        while not self._write(message):
            await self._writable.wait()
            self._writable.clear()

    def try_send(self, message: bytes) -> bool:
        """Send one message if there is room now; False if not: ``on_writable`` is called once there is.

        There is room while no more waits than the paths take in a few milliseconds (`message_size_hint`).
        """
        return self._write(message) > 0

    def takes_message(self) -> bool:
        """Whether `try_send` takes a message now; if not, ``on_writable`` is called once it does.

        So that what goes into the message can be chosen when it is sent. True once the session is over.
        """
        return self.closed or self._connection.takes_message()

    def set_handlers(
        self, on_message: MessageHandler, on_writable: WritableHandler, on_closed: ClosedHandler
    ) -> None:
        """Have messages, room after a `try_send` that failed, and the end announced by callbacks from now on.

        ``on_closed`` gets None after an orderly end. Messages that wait already are delivered at the next
        turn of the event loop. A handler that raises ends the session.
        """
        self._message_handler = on_message
        self._writable_handler = on_writable
        self._closed_handler = on_closed
        self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        self._deliver(self._loop.time())
        self._drain()
        if self.closed and self._closed_handler is not None:
            handler, self._closed_handler = self._closed_handler, None
            handler(self._error)

    # --- the end ---

    async def close(self) -> None:
        """Send what was written, wait until it is acknowledged and read, then tell the peer.

        ``Config.linger`` bounds how long the wait stands still.
        """
        if not self.closed:
            self._connection.close(self._loop.time())
            self._drain()
            await self._ended.wait()

    def abort(self) -> None:
        """End the session at once: what was not sent is lost."""
        if not self.closed:
            self._connection.abort(self._loop.time())
            self._drain()

    def _broken(self) -> ClosedError:
        if self._error is None:
            return ClosedError(f"the session with {self.remote_address} is closed")
        if isinstance(self._error, ClosedError):
            return self._error
        return ClosedError(f"the session with {self.remote_address} broke: {self._error}")

    # --- what the MultiClient does with it ---

    def dial(self) -> None:
        """Send the handshake on all paths, again and again until it is answered."""
        now = self._loop.time()
        self._block_full(now)
        self._connection.connect(now)
        self._drain()

    async def wait_established(self) -> None:
        """Wait for the peer's answer; DialTimeoutError or ClosedError if there is none."""
        await self._established.wait()
        if self.closed:
            if isinstance(self._error, DialTimeoutError):
                raise self._error
            raise self._broken()

    def answer(self, packet: bytes, local_id: str, remote_id: str) -> None:
        """Answer the peer's handshake; ProtocolError if it is none."""
        now = self._loop.time()
        self._block_full(now)
        self._connection.receive(packet, local_id, remote_id, now)
        self._drain()

    def on_packet(self, packet: bytes, local_id: str, remote_id: str) -> None:
        """One packet of the peer; ProtocolError if it is bad, which costs the packet."""
        self._connection.receive(packet, local_id, remote_id, self._loop.time())
        # Packets come in heaps, from one reading of the socket; what follows from them is done once.
        if not self._heaped:
            self._heaped = True
            self._loop.call_soon(self._on_heap)

    def _on_heap(self) -> None:
        self._heaped = False
        if not self.closed:
            self._drain()

    def on_path_lost(self, client: SubClient) -> None:
        """A sub-client's connection is gone, and perhaps what was sent on it last."""
        if client.id in self._clients and not self.closed:
            self._block(client, self._loop.time(), lost=True)
            self._drain()

    # --- the driver of the connection ---

    def _block_full(self, now: float) -> None:
        for client in self._clients.values():
            if client.id not in self._blocked and not client.usable:
                self._block(client, now)

    def _block(self, client: SubClient, now: float, *, lost: bool = False) -> None:
        if client.id not in self._blocked:
            self._blocked.add(client.id)
            client.when_usable(self._unblock)
        self._connection.set_path_ready(client.id, False, now, lost=lost)

    def _unblock(self, client: SubClient) -> None:
        self._blocked.discard(client.id)
        if not self.closed:
            self._connection.set_path_ready(client.id, True, self._loop.time())
            self._drain()

    def _write(self, data: bytes | memoryview) -> int:
        if self.closed:
            raise self._broken()
        taken = self._connection.write(data, self._loop.time())
        if taken:
            self._drain()
        return taken

    def _drain(self) -> None:
        # Sending may fill a websocket, and a handler may write: both come back here, and get another round.
        self._again = True
        if self._draining:
            return
        self._draining = True
        try:
            while self._again:
                self._again = False
                now = self._loop.time()
                self._transmit(now)
                for event in self._connection.events():
                    self._on_event(event, now)
        finally:
            self._draining = False
        self._arm()

    def _transmit(self, now: float) -> None:
        # What ends the session goes out in any case: the sub-clients may be closed next.
        if self._more and not self._connection.closed:
            return
        self._block_full(now)
        left = BURST
        for local_id, remote_id, packet in self._connection.transmit(now):
            client = self._clients[local_id]
            dest = self._destinations.get(remote_id) or self._destination(remote_id)
            if dest and client.usable:
                client.send_session(dest, encode_session_payload(self.id, packet), self._shared_key)
                if not client.usable:
                    self._block(client, now)

            left -= 1
            if not left:
                self._more = True
                self._loop.call_soon(self._go_on)
                return

    def _go_on(self) -> None:
        self._more = False
        if not self.closed:
            self._drain()

    def _destination(self, remote_id: str) -> str:
        """The full address of a sub-client that the peer named; empty if the name is none."""
        dest = f"{remote_id}.{self.remote_address}" if remote_id else self.remote_address
        if remote_id and split_sub_client(dest)[1] != self.remote_address:
            logger.debug("%s: %.40r is not the name of a sub-client", self, remote_id)
            return ""
        self._destinations[remote_id] = dest
        return dest

    def _on_event(self, event: ncp.Event, now: float) -> None:
        if isinstance(event, ncp.Readable):
            self._readable.set()
            self._deliver(now)
        elif isinstance(event, ncp.Writable):
            self._writable.set()
            if self._writable_handler is not None:
                self._call(self._writable_handler)
        elif isinstance(event, ncp.Established):
            self._established.set()
        elif isinstance(event, ncp.Closed):
            self._end(event.error)

    def _deliver(self, now: float) -> None:
        handler = self._message_handler
        if handler is None:
            return
        while (message := self._connection.receive_message(now)) is not None:
            # What was read opens the peer's window.
            self._again = True
            self._call(handler, message)

    def _call(self, handler: Callable[..., None], *arguments: object) -> None:
        try:
            handler(*arguments)
        except Exception as error:
            name = type(error).__name__
            logger.error("%s: a handler failed, so the session ends: %s: %s", self, name, error)
            logger.debug("where it failed", exc_info=True)
            self.abort()

    def _end(self, error: Exception | None) -> None:
        self._error = error
        for event in (self._ended, self._established, self._readable, self._writable):
            event.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_end(self)
        if self._closed_handler is not None:
            handler, self._closed_handler = self._closed_handler, None
            self._call(handler, error)

    def _arm(self) -> None:
        due = self._connection.next_timeout()
        if due is None or self.closed:
            return
        # An early call is harmless, and cheaper than a new timer for each packet.
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        # uvloop rounds, to the nearest tick: what it calls before it is due would be called again and again
        # until the tick is over, and keep the processor busy meanwhile.
        ticks = math.ceil((due - self._loop.time()) / TICK - ROUNDING)
        self._timer = self._loop.call_later(max(ticks, 0) * TICK, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._connection.handle_timeout(self._loop.time())
        self._drain()
