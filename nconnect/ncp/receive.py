"""The receiving half: reassembly, the window that we grant, and what our application has read."""

from __future__ import annotations

import enum
from collections import deque

from .config import Mode
from .sequence import advance, compare, distance

# Packets that may wait in our memory, and how far ahead of the first missing one a packet may be. The window
# counts bytes only, so without this a peer could fill the memory with packets of one byte or none.
MAX_PACKETS = 1 << 16


class Arrival(enum.Enum):
    """What became of a data packet."""

    NEW = "kept, to be acknowledged"
    DUPLICATE = "had it before, to be acknowledged again"
    REFUSED = "does not fit into the window, not to be acknowledged: the peer sends it again"


class ReceiveBuffer:
    """Puts data back in order, or just sees to it that each packet is delivered once (UNORDERED)."""

    __slots__ = (
        "_ahead",
        "_mode",
        "_next",
        "_offset",
        "_ready",
        "_window_size",
        "buffered",
        "bytes_received",
    )

    def __init__(self, mode: Mode, window_size: int, first_sequence: int) -> None:
        self._mode = mode
        self._window_size = window_size
        self._next = first_sequence  # all before it have arrived
        self._ahead: dict[int, bytes] = {}  # arrived after a gap; UNORDERED keeps the numbers only
        self._ready: deque[bytes] = deque()
        self._offset = 0  # of the first of _ready, bytes that are read already
        self.buffered = 0
        """Bytes that are here and not read."""
        self.bytes_received = 0
        """Bytes that arrived, each counted once."""

    @property
    def readable(self) -> bool:
        return bool(self._ready)

    def accept(self, sequence: int, data: bytes) -> Arrival:
        """A data packet. An empty one only takes its number: no SDK sends such, all take it."""
        if compare(sequence, self._next) < 0 or sequence in self._ahead:
            return Arrival.DUPLICATE
        gap = distance(self._next, sequence)
        if (
            gap >= MAX_PACKETS
            or self.buffered + len(data) > self._window_size
            or len(self._ready) + len(self._ahead) >= MAX_PACKETS
        ):
            return Arrival.REFUSED
        self.buffered += len(data)
        self.bytes_received += len(data)
        unordered = self._mode is Mode.UNORDERED
        if unordered:
            self._deliver(data)
        if gap:
            self._ahead[sequence] = b"" if unordered else data
            return Arrival.NEW
        self._next = advance(self._next, 1)
        if not unordered:
            self._deliver(data)
        while self._ahead and (following := self._ahead.pop(self._next, None)) is not None:
            self._next = advance(self._next, 1)
            if not unordered:
                self._deliver(following)
        return Arrival.NEW

    def read(self, n: int) -> bytes:
        """Up to n bytes of the stream."""
        parts: list[bytes | memoryview] = []
        left = n
        while left > 0 and self._ready:
            chunk = self._ready[0]
            size = len(chunk) - self._offset
            if size > left:
                parts.append(memoryview(chunk)[self._offset : self._offset + left])
                self._offset += left
                left = 0
            else:
                parts.append(memoryview(chunk)[self._offset :] if self._offset else chunk)
                self._ready.popleft()
                self._offset = 0
                left -= size
        self.buffered -= n - left
        if len(parts) == 1 and isinstance(parts[0], bytes):
            return parts[0]
        return b"".join(parts)

    def pop(self) -> bytes | None:
        """The next message."""
        if not self._ready:
            return None
        message = self._ready.popleft()
        self.buffered -= len(message)
        return message

    def clear(self) -> None:
        self._ready.clear()
        self._ahead.clear()
        self._offset = self.buffered = 0

    def _deliver(self, data: bytes) -> None:
        if data:
            self._ready.append(data)
