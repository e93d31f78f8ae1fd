"""The least of what was measured lately, as a filter of two halves."""

from __future__ import annotations

import math


class RecentMinimum:
    """Of the samples since the last `rotate` but one; infinite before the first."""

    __slots__ = ("_next", "value")

    def __init__(self) -> None:
        self.value = math.inf
        self._next = math.inf

    def add(self, sample: float) -> None:
        self.value = min(self.value, sample)
        self._next = min(self._next, sample)

    def rotate(self) -> None:
        """Forget the older half."""
        self.value, self._next = self._next, math.inf

    def reset(self, sample: float = math.inf) -> None:
        """Forget all but `sample`."""
        self.value = self._next = sample
