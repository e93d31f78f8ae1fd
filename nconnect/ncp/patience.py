"""How long a peer may answer nothing while it owes answers, before it is taken for gone."""

from __future__ import annotations

from collections.abc import Iterable

from .path import Path
from .timers import NEVER

# Retransmission time-outs of the slowest path within which an answer comes, one way or the other.
TIMEOUTS = 2
# Bytes per second of a path that was not measured yet: 1 Mbit/s, of which several paths may be the same.
ASSUMED_RATE = 128 << 10
# A timer that goes off so late was slept through: who has not answered meanwhile may have, unread.
STOOD_STILL = 0.25


class Patience:
    """Decides for one session when nothing has come back for too long.

    Anything of the peer's is an answer, on whatever path. A path whose queue is deep answers late, so as long
    as the data under way takes by the path's own measure is not counted as silence.
    """

    __slots__ = ("_not_before", "_timeout", "ready_since")

    def __init__(self, timeout: float, now: float) -> None:
        """`timeout`: seconds; 0: wait for ever."""
        self._timeout = timeout or NEVER
        self._not_before = 0.0
        self.ready_since = now
        """Since when there has been a path that takes packets: silence without one is our own."""

    def due(self, since: float) -> float:
        """When to look, after nothing has come back `since` then."""
        return max(since, self.ready_since, self._not_before) + self._timeout

    def is_over(self, since: float, paths: Iterable[Path], now: float) -> bool:
        """Whether it is over, now that `due` has come; if not, there is another time for it."""
        if now - self.due(since) > STOOD_STILL:
            self._not_before = now
            return False
        allowed = max(self._timeout, self._answer_time([path for path in paths if path.ready]))
        self._not_before = max(since, self.ready_since) + allowed - self._timeout
        return self.due(since) <= now

    @staticmethod
    def _answer_time(paths: list[Path]) -> float:
        """Seconds that an answer may well take."""
        slowest = max((path.rtt.rto for path in paths), default=0.0)
        rates = ((path.bytes_in_flight, path.congestion.rate or ASSUMED_RATE) for path in paths)
        return TIMEOUTS * slowest + sum(size / rate for size, rate in rates)
