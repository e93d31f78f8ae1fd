"""CoDel: when a queue stands, tell its senders; when it only smooths a burst, leave them alone (RFC 8289).

What counts is not how much waits but the least time that a packet had to wait lately: a burst drains, a
standing queue does not. One object judges one flow; time is `now`, in seconds.
"""

from __future__ import annotations

from math import inf, sqrt

TARGET_PART = 20
"""Of the interval, the wait that is put up with: 5 ms of 100 (RFC 8289, 4.3: 5 to 10 per cent)."""
MAX_COUNT = 25
"""Up to which drops come faster: then five an interval, 50 a second. A sender that answers losses needs fewer
(TCP Reno at 1 Mbit/s and 50 ms, 8). One that does not, as BBR, keeps its queue whatever it loses, and has it
for itself alone: by RFC 8289 it would lose 500 a second after ten seconds, all of which are sent again."""


class Codel:
    """The state of RFC 8289's control loop for one flow, which stops at `MAX_COUNT`."""

    __slots__ = ("_above_since", "_count", "_dropping", "_last_count", "_next")

    def __init__(self) -> None:
        self._above_since = inf
        self._dropping = False
        self._next = 0.0
        self._count = 0
        self._last_count = 0

    def should_drop(self, waited: float, backlog: int, now: float, interval: float, enough: int) -> bool:
        """Whether to drop (or mark) the packet that leaves now, after it `waited` so many seconds.

        Call it for each packet in turn, again for the one behind a dropped packet. `interval` is a usual
        round-trip time. A `backlog` of no more than `enough` bytes behind it is what the link sends at once.
        """
        standing = self._is_standing(waited, backlog, now, interval, enough)
        if self._dropping:
            if not standing:
                self._dropping = False
                return False
            if now < self._next:
                return False
            self._count = min(self._count + 1, MAX_COUNT)
            self._next += interval / sqrt(self._count)
            return True
        if not standing:
            return False
        self._dropping = True
        # A flow that came back soon is told at about the rate that was right the last time.
        recent = self._count - self._last_count
        soon = now - self._next < 16 * interval
        self._count = recent if recent > 1 and soon else 1
        self._last_count = self._count
        self._next = now + interval / sqrt(self._count)
        return True

    def _is_standing(self, waited: float, backlog: int, now: float, interval: float, enough: int) -> bool:
        """Whether packets have waited longer than the target for a whole interval."""
        if waited < interval / TARGET_PART or backlog <= enough:
            self._above_since = inf
            return False
        if self._above_since == inf:
            self._above_since = now
            return False
        return now - self._above_since >= interval
