"""Calls at given times, by the ten thousand, with one timer of the event loop."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Protocol

# Event loops count timers in milliseconds. What is due within half of one is done at once, and a timer is
# never set for less than one: uvloop rounds that to "now", and would spin until it is due.
TICK = 0.001


class Timer(Protocol):
    """What the handles of asyncio and uvloop have in common (``when`` is missing from some of uvloop's)."""

    def cancel(self) -> None: ...


class Loop(Protocol):
    """What this needs of an event loop; tests have one whose time is virtual."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class Scheduler:
    """Calls functions in the order of their times, give or take `TICK`."""

    __slots__ = ("_calls", "_due", "_loop", "_next", "_timer")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._next = 0
        self._timer: Timer | None = None
        self._due = 0.0

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Call at ``when`` (the loop's time); at once if that is now, and no other call is due before it."""
        now = self._loop.time()
        if when <= now and not (self._calls and self._calls[0][0] <= when):
            call()
            return
        heapq.heappush(self._calls, (when, self._next, call))
        self._next += 1
        due = max(when, now + TICK)
        if self._timer is None or due < self._due:
            self._arm(due)

    def close(self) -> None:
        """Forget all calls."""
        self._calls.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        self._timer = None
        calls = self._calls
        now = self._loop.time()
        while calls and calls[0][0] <= now + TICK / 2:
            heapq.heappop(calls)[2]()
        if calls:
            self._arm(max(calls[0][0], now + TICK))
