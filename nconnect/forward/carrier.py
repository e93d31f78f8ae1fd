"""Many connections and datagrams over one link.

Why not an NKN session for each connection: a session needs a round trip before its first byte and learns its
paths anew, and the provider would have to tell its kind from its handshake. Here a connection is open after
the one round trip that its answer takes, all share the link's keys and what it knows of its paths, and since
batches come without order, a lost message delays only the connections whose bytes it carried.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable

from nconnect.errors import ClosedError, ProtocolError
from nconnect.forward import records
from nconnect.forward.records import Kind, Record
from nconnect.forward.socks5 import Target, decode_target, encode_target
from nconnect.forward.stream import Stream
from nconnect.tunnel.link import Link

logger = logging.getLogger(__name__)

QUANTUM = 16 * 1024
"""Bytes that one connection may send while others wait: eight share a batch, so a hundred busy ones delay a
keystroke by some 12 batches."""
MAX_URGENT = 8192
"""Records that wait ahead of data: a few for each connection. Whoever makes us answer has to listen."""
MAX_DATAGRAM_BACKLOG = 256 * 1024
"""Bytes of records that wait when a datagram is dropped instead: as much as the session itself lets wait."""


class Carrier:
    """Carries streams and datagrams on `link` until that ends.

    `on_open` is called with each stream that the peer opens (None: it may not), `on_datagram` with flow,
    target and payload, `on_forget` with a flow that is over.
    """

    def __init__(
        self,
        link: Link,
        *,
        on_open: Callable[[Stream, Target], None] | None = None,
        on_datagram: Callable[[int, Target, bytes], None],
        on_forget: Callable[[int], None] = lambda flow: None,
    ) -> None:
        self._link = link
        self._on_open = on_open
        self._on_datagram = on_datagram
        self._on_forget = on_forget
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self._urgent: deque[bytes] = deque()
        self._urgent_size = 0
        self._ready: deque[Stream] = deque()
        self._scheduled = False
        link.on_batch = self._on_batch
        link.on_room = self._send
        link.on_closed = self._on_closed

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def open(self, target: Target) -> Stream:
        """A stream to `target`; await its `answer`.

        Raises:
            ClosedError: the link has ended.
        """
        if self._link.closed:
            raise ClosedError("the link to the provider has ended")
        stream = Stream(next(self._numbers), self)
        self._streams[stream.number] = stream
        self.urgent(records.encode(Kind.OPEN, stream.number, encode_target(target)))
        return stream

    def send_datagram(self, flow: int, target: Target, payload: bytes | memoryview) -> None:
        """Send a datagram; it is lost if too much waits, as on any network."""
        record = records.encode(Kind.DATAGRAM, flow, encode_target(target) + payload)
        fits = len(record) <= self._link.max_batch
        if fits and self._urgent_size <= MAX_DATAGRAM_BACKLOG and not self._link.closed:
            self.urgent(record)

    def forget_flow(self, flow: int) -> None:
        """No more datagrams of this flow."""
        self.urgent(records.encode(Kind.FORGET, flow))

    # What streams ask for

    def urgent(self, record: bytes) -> None:
        """Send a record before all data."""
        if self._link.closed:
            return
        self._urgent.append(record)
        self._urgent_size += len(record)
        self._schedule()

    def ready(self, stream: Stream) -> None:
        """Send what the stream has, when its turn comes."""
        self._ready.append(stream)
        self._schedule()

    def forget(self, stream: Stream) -> None:
        """The stream is over."""
        self._streams.pop(stream.number, None)

    # Out

    def _schedule(self) -> None:
        # At the end of this turn of the loop, so that what is said in it shares a batch.
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        while not self._link.closed and self._link.has_room and (batch := self._build()):
            self._link.send_batch(batch)
        if len(self._urgent) > MAX_URGENT:
            logger.info("%s does not take what it is sent: hung up", self._link.remote_address)
            self._link.abort()

    def _build(self) -> bytes:
        """A batch of what waits: first what is urgent, then a piece of each stream in turn."""
        parts: list[bytes | memoryview] = []
        room = self._link.max_batch
        while self._urgent and len(self._urgent[0]) <= room:
            record = self._urgent.popleft()
            self._urgent_size -= len(record)
            room -= len(record)
            parts.append(record)
        while self._ready and room > records.DATA_OVERHEAD:
            stream = self._ready.popleft()
            head, data = stream.take(min(room, QUANTUM) if self._ready else room)
            room -= len(head) + len(data)
            parts += (head, data)
            if stream.has_more:
                self._ready.append(stream)
        return b"".join(parts)

    # In

    def _on_batch(self, batch: memoryview) -> None:
        try:
            for record in records.iter_records(batch):
                self._on_record(record)
        except ProtocolError as error:
            # Authentic, so it was the peer: what else it says cannot be relied on.
            logger.info("%s broke the protocol: %s", self._link.remote_address, error)
            self._link.abort()

    def _on_record(self, record: Record) -> None:
        kind, number, body = record
        if kind == Kind.DATAGRAM:
            target, payload = decode_target(body)
            self._on_datagram(number, target, bytes(payload))
        elif kind == Kind.FORGET:
            self._on_forget(number)
        elif kind == Kind.OPEN:
            self._on_peer_opens(number, body)
        elif (stream := self._streams.get(number)) is not None:
            self._on_stream_record(stream, kind, body)
        # Anything else is of a stream that was broken off while this was on its way.

    def _on_peer_opens(self, number: int, body: memoryview) -> None:
        if self._on_open is None or number in self._streams:
            raise ProtocolError(f"it opens stream {number}, which it may not")
        target, _ = decode_target(body)
        stream = self._streams[number] = Stream(number, self)
        self._on_open(stream, target)

    def _on_stream_record(self, stream: Stream, kind: int, body: memoryview) -> None:
        if kind == Kind.DATA:
            stream.on_data(*records.decode_data(body))
        elif kind == Kind.WINDOW:
            stream.on_window(records.decode_offset(body))
        elif kind == Kind.END:
            stream.on_end(records.decode_offset(body))
        elif kind == Kind.OPENED:
            stream.on_opened(body)
        elif kind == Kind.RESET:
            stream.break_off("the other side broke the connection off")

    def _on_closed(self, error: Exception | None) -> None:
        for stream in tuple(self._streams.values()):
            stream.break_off("the link has ended")
        self._urgent.clear()
        self._ready.clear()
