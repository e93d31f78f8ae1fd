"""When the next packet may leave on one path: evenly, not in the bursts in which ACKs come."""

from __future__ import annotations

# What may be sent ahead of time, in seconds: timers come no more precisely, and less often they cost less.
BURST = 0.002
# Event loops count timers in milliseconds, so one that is set may come early by half of one.
EARLY = 0.0005
# What is quicker is not paced, in bytes per second: a packet of 128 KiB takes no longer than a burst there.
UNPACED_RATE = 64e6


class Pacer:
    """A leaky bucket of `BURST` seconds, at a rate that may change with each packet."""

    __slots__ = ("ready_at",)

    def __init__(self) -> None:
        self.ready_at = 0.0
        """When the next packet may be sent, whatever its size."""

    def ready(self, now: float) -> bool:
        return self.ready_at <= now + EARLY

    def on_sent(self, size: int, rate: float, now: float) -> None:
        """`size` bytes were sent on a path that takes `rate` bytes per second."""
        if rate < UNPACED_RATE:
            self.ready_at = max(self.ready_at, now - BURST) + size / rate
