"""The sending half: what was written, cut into packets, kept until it is acknowledged."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .config import Config, Mode
from .packet import AckRange
from .rate import Snapshot
from .sequence import advance, between, distance, merge
from .timers import NEVER

if TYPE_CHECKING:
    from .path import Path

# Numbers from the oldest unacknowledged packet to the newest: no receiver of ours looks further ahead, and a
# peer that never acknowledges the oldest cannot make us walk further. 64 Ki packets of 1 KiB are 64 MiB.
MAX_PACKETS = 1 << 16


class Segment:
    """One data packet under way. `path` is where it is in flight; None while it is given up."""

    __slots__ = (
        "acknowledged",
        "data",
        "order",
        "path",
        "sent_at",
        "sequence",
        "size",
        "snapshot",
        "transmissions",
    )

    def __init__(self, sequence: int, data: bytes | memoryview) -> None:
        self.sequence = sequence
        self.data = data
        self.size = len(data)
        self.path: Path | None = None
        self.order = 0
        self.sent_at = 0.0
        self.snapshot: Snapshot = (0, 0.0, 0.0)
        self.transmissions = 0
        self.acknowledged = False


class SendBuffer:
    """Queue of written data, packets in flight, packets to resend, and the peer's window."""

    __slots__ = (
        "_acknowledged",
        "_chunks",
        "_config",
        "_flush",
        "_lost",
        "_lost_bytes",
        "_next",
        "_peer_read",
        "_send_window",
        "bytes_sent",
        "flush_at",
        "limit",
        "outstanding",
        "packet_size",
        "queued",
    )

    def __init__(self, config: Config, send_mtu: int, send_window: int) -> None:
        self._config = config
        self._next = config.first_sequence
        self._chunks: deque[bytes | memoryview] = deque()
        self._lost: deque[Segment] = deque()
        self._lost_bytes = 0
        self._flush = 0  # STREAM: of `queued`, bytes that wait for no company
        self._peer_read = 0
        self._send_window = send_window
        self.outstanding: OrderedDict[int, Segment] = OrderedDict()
        """Every packet that was sent and not acknowledged, the oldest first."""
        self.limit = config.send_buffer
        """Bytes that may wait for their first transmission."""
        self.packet_size = send_mtu
        """STREAM: bytes of a full packet."""
        self.queued = 0
        """Bytes written and not yet sent."""
        self.bytes_sent = 0
        """Bytes sent, each counted once."""
        self._acknowledged = 0
        self.flush_at = NEVER
        """STREAM: when to send what does not fill a packet."""

    @property
    def drained(self) -> bool:
        """Whether all that was written is acknowledged, and read by the peer's application.

        The SDKs drop what is unread when a close comes, so an ACK is not enough to close on.
        """
        return not self.queued and not self.outstanding and self._peer_read == self.bytes_sent

    @property
    def progress(self) -> int:
        """Grows whenever something of ours is acknowledged, or read by the peer's application."""
        return self._acknowledged + self._peer_read

    @property
    def backlog(self) -> int:
        """Bytes that wait to be sent, for the first time or again."""
        return self.queued + self._lost_bytes

    @property
    def unacknowledged(self) -> int:
        """Bytes that were written and are not acknowledged."""
        return self.queued + self.bytes_sent - self._acknowledged

    @property
    def newest(self) -> Segment | None:
        """The newest packet that is not acknowledged."""
        return next(reversed(self.outstanding.values()), None)

    @property
    def last_sequence(self) -> int:
        """Number of the newest packet that was sent."""
        return advance(self._next, -1)

    # From the application

    def write(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Queue what there is room for: part of a stream, all or nothing of a message."""
        room = max(self.limit - self.queued, 0)
        size = len(data)
        if self._config.mode is Mode.STREAM:
            if size > room:
                data = memoryview(data)[:room]
                size = room
            if size and self.flush_at == NEVER:
                self.flush_at = now + self._config.flush_interval
        elif size > room and self.queued:
            return 0
        if size:
            self._chunks.append(data if isinstance(data, bytes) else bytes(data))
            self.queued += size
        return size

    def flush(self) -> None:
        """STREAM: send what is queued now although it does not fill a packet."""
        self._flush = self.queued
        self.flush_at = NEVER

    # To the paths

    def next_size(self) -> int:
        """Size of the packet that take() would give now, in bytes; 0: nothing may be sent."""
        while self._lost and self._lost[0].acknowledged:
            self._lost.popleft()
        if self._lost:
            return self._lost[0].size
        size = self._new_size()
        if not size or size > self._window_left() or self._span() >= MAX_PACKETS:
            return 0
        if (
            self._config.mode is Mode.STREAM
            and size < self.packet_size
            and not self._flush
            and self.outstanding
        ):
            return 0
        return size

    @property
    def blocked(self) -> bool:
        """Whether only the peer's reading can get things going again."""
        return not self.outstanding and self._new_size() > self._window_left()

    def take(self, now: float) -> Segment:
        """The packet whose size next_size() gave: a lost one again, or a new one."""
        if self._lost:
            segment = self._lost.popleft()
            self._lost_bytes -= segment.size
            return segment
        data = self._take_new(now)
        segment = Segment(self._next, data)
        self._next = advance(self._next, 1)
        self.outstanding[segment.sequence] = segment
        self.queued -= segment.size
        self.bytes_sent += segment.size
        return segment

    def mark_lost(self, segments: Sequence[Segment]) -> None:
        """Send these again, before anything new."""
        for segment in segments:
            self._lost.append(segment)
            self._lost_bytes += segment.size

    # From the peer

    def acknowledge(self, ranges: Sequence[AckRange]) -> list[Segment]:
        """The packets that these ranges acknowledge for the first time.

        As in ncp-go a range counts only if its end is under way, and one that begins before the oldest packet
        under way is cut there; so whatever the peer claims, this takes the time of its claims plus that of
        what is under way. A count of 0, or one that goes round the whole cycle, acknowledges nothing.
        """
        outstanding = self.outstanding
        if not outstanding:
            return []
        first = next(iter(outstanding))
        intervals = []
        for start, count in ranges:
            last = advance(start, count - 1)
            if not count or not between(first, self._next, last):
                continue
            begin = distance(first, start) if between(first, self._next, start) else 0
            end = distance(first, last) + 1
            if begin < end:
                intervals.append((begin, end))
        segments: list[Segment] = []
        for begin, end in merge(intervals):
            if end - begin > len(outstanding):
                hit = [number for number in outstanding if begin <= distance(first, number) < end]
            else:
                hit = [advance(first, offset) for offset in range(begin, end)]
            for number in hit:
                segment = outstanding.pop(number, None)
                if segment is not None:
                    segment.acknowledged = True
                    self._acknowledged += segment.size
                    if segment.path is None:
                        self._lost_bytes -= segment.size
                    segments.append(segment)
        return segments

    def on_peer_read(self, bytes_read: int) -> None:
        """The peer's application has read so much; more than was sent is nonsense and opens nothing more."""
        self._peer_read = max(self._peer_read, min(bytes_read, self.bytes_sent))

    def clear(self) -> None:
        self._chunks.clear()
        self._lost.clear()
        self.outstanding.clear()
        self.queued = self._lost_bytes = self._flush = 0
        self.flush_at = NEVER

    # Inside

    def _new_size(self) -> int:
        if not self._chunks:
            return 0
        if self._config.mode is Mode.STREAM:
            return min(self.packet_size, self.queued)
        return len(self._chunks[0])

    def _window_left(self) -> int:
        return self._send_window - (self.bytes_sent - self._peer_read)

    def _span(self) -> int:
        return distance(next(iter(self.outstanding)), self._next) if self.outstanding else 0

    def _take_new(self, now: float) -> bytes | memoryview:
        if self._config.mode is not Mode.STREAM:
            return self._chunks.popleft()
        size = self._new_size()
        left = self.queued - size
        self._flush = max(self._flush - size, 0)
        self.flush_at = now + self._config.flush_interval if left > self._flush else NEVER
        parts: list[bytes | memoryview] = []
        while size:
            chunk = self._chunks.popleft()
            if len(chunk) > size:
                view = memoryview(chunk)
                self._chunks.appendleft(view[size:])
                chunk = view[:size]
            parts.append(chunk)
            size -= len(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)
