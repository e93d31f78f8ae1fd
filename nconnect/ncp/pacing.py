"""When the next packet may leave on one path: evenly, not in the bursts in which ACKs come."""

from __future__ import annotations

# Event loops count timers in milliseconds, so one that is set may come early by half of one.
EARLY = 0.0005
# What is quicker is not paced, in bytes per second: a packet of 128 KiB takes 2 ms there.
UNPACED_RATE = 64e6


class Pacer:
    """A leaky bucket of one packet, at a rate that may change with each.

    What a late timer costs is not made up for: two packets at once wait for each other at the relay, which
    looks like a queue there, and is one for a ping. Who paces asks for more than the path carries, to pay for
    the rounding of timers.
    """

    __slots__ = ("ready_at",)

    def __init__(self) -> None:
        self.ready_at = 0.0
        """When the next packet may be sent, whatever its size."""

    def ready(self, now: float) -> bool:
        return self.ready_at <= now + EARLY

    def on_sent(self, size: int, rate: float, now: float) -> None:
        """`size` bytes were sent on a path that takes `rate` bytes per second."""
        if rate < UNPACED_RATE:
            self.ready_at = max(self.ready_at, now) + size / rate
