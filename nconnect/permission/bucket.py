"""A bound on how often something may happen: so much at once, and so much in the long run."""

from __future__ import annotations


class Bucket:
    """A token bucket: `most` at once, `rate` a second in the long run; full at first."""

    def __init__(self, most: int, rate: float, now: float) -> None:
        self._most = float(most)
        self._rate = rate
        self._left = self._most
        self._counted = now

    def take(self, now: float) -> bool:
        """Whether there may be one more at `now`, in seconds of whatever clock."""
        # A wall clock may be set back; that must not stop everything until it is where it was.
        grown = self._left + max(now - self._counted, 0.0) * self._rate
        self._left, self._counted = min(grown, self._most), now
        if self._left < 1:
            return False
        self._left -= 1
        return True
