"""Which received packets one path still has to acknowledge."""

from __future__ import annotations

from .packet import MAX_ACK_RANGES, AckRange
from .sequence import HALF_CYCLE, advance, distance, merge
from .timers import NEVER

# Nobody's honest window holds more packets; what comes above is not acknowledged, the peer sends it again.
MAX_PENDING = 1 << 16
# A packet of so many bytes costs more than its ACK, which therefore waits for others only this part of the
# time: the sender learns its path's rate and queue from ACKs.
LARGE = 4 << 10
LARGE_PART = 0.25


class AckQueue:
    """The ACKs that one path owes.

    An NCP ACK names what arrived since the last one, so a lost ACK packet would cost the resending of all
    that it named. Hence each packet also repeats the one before it: that is free, and both SDKs ignore it.
    """

    __slots__ = ("_bytes", "_delay", "_enough", "_pending", "_previous", "deadline")

    def __init__(self, delay: float, enough: int) -> None:
        """`delay`: seconds that an ACK may wait; `enough`: bytes received after which it waits no longer."""
        self._delay = delay
        self._enough = enough
        self._pending: list[int] = []
        self._previous: list[AckRange] = []
        self._bytes = 0
        self.deadline = NEVER
        """When to send; NEVER if nothing is owed."""

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, sequence: int, size: int, now: float) -> None:
        if len(self._pending) >= MAX_PENDING:
            return
        self._pending.append(sequence)
        self._bytes += size
        if self._bytes >= self._enough:
            self.deadline = now
        else:
            delay = self._delay if size < LARGE else self._delay * LARGE_PART
            self.deadline = min(self.deadline, now + delay)

    def take(self) -> list[AckRange]:
        """The ranges of one packet. Call again while there are more."""
        pending = self._pending
        reference = advance(pending[0], -HALF_CYCLE)
        offsets = [distance(reference, sequence) for sequence in pending]
        merged = merge([(offset, offset + 1) for offset in offsets])
        rest = merged[MAX_ACK_RANGES:]
        self._pending = [advance(reference, offset) for begin, end in rest for offset in range(begin, end)]
        if not self._pending:
            self._bytes = 0
            self.deadline = NEVER
        fresh = merged[:MAX_ACK_RANGES]
        repeated = [(distance(reference, start), count) for start, count in self._previous]
        both = merge(fresh + [(begin, begin + count) for begin, count in repeated])
        self._previous = [(advance(reference, begin), end - begin) for begin, end in fresh]
        if len(both) > MAX_ACK_RANGES:
            return self._previous
        return [(advance(reference, begin), end - begin) for begin, end in both]
