"""An event loop whose clock moves only when a timer is due."""

from __future__ import annotations

from collections.abc import Callable


class VirtualTimer:
    def __init__(self, loop: VirtualLoop, when: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._when = when
        self.callback = callback

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        self._loop.timers.remove(self)


class VirtualLoop:
    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[VirtualTimer] = []
        self.late: list[float] = []
        """By how many seconds the next timers are late, as on a busy machine; those after them are not."""

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> VirtualTimer:
        timer = VirtualTimer(self, when, callback)
        self.timers.append(timer)
        return timer

    def run(self) -> None:
        """Until no timer is left."""
        while self.timers:
            timer = min(self.timers, key=lambda timer: timer.when())
            self.timers.remove(timer)
            late = self.late.pop(0) if self.late else 0.0
            self.now = max(self.now, timer.when() + late)
            timer.callback()
