"""Latency, jitter, loss and rate between nodes.

A message takes three steps, each skipped where it has nothing to do: it queues for the sender's node's way in
(rate), travels (latency, jitter, loss), and queues for the receiver's node's way out (rate).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from nconnect.devnet.config import Shape
from nconnect.devnet.scheduler import Loop, Scheduler
from nconnect.devnet.stats import Stats

# A message that would wait longer than this for a link is dropped: the buffer of a usual access router.
MAX_QUEUE_SECONDS = 0.25
# All messages under way: 0.5 s of latency at 2 Gbit/s.
MAX_IN_FLIGHT_BYTES = 128 * 1024 * 1024


class Link:
    """One direction of a node's connection: messages leave one after the other at a rate."""

    __slots__ = ("_free_at", "_seconds_per_byte")

    def __init__(self, rate_mbit: float) -> None:
        self._seconds_per_byte = 8 / (rate_mbit * 1e6) if rate_mbit else 0.0
        self._free_at = 0.0

    def send(self, now: float, size: int) -> float | None:
        """When the last byte of a message leaves that is handed in now; None if the queue is full."""
        if not self._seconds_per_byte:
            return now
        start = max(now, self._free_at)
        if start - now > MAX_QUEUE_SECONDS:
            return None
        self._free_at = start + size * self._seconds_per_byte
        return self._free_at


class Shaper:
    """Carries messages between the nodes of a devnet in the way that their shapes ask for."""

    __slots__ = ("_egress", "_in_flight", "_ingress", "_loop", "_scheduler", "_shapes", "_stats")

    def __init__(self, shapes: Sequence[Shape], loop: Loop, stats: Stats) -> None:
        self._loop = loop
        self._scheduler = Scheduler(loop)
        self._shapes = shapes
        self._ingress = [Link(shape.rate_mbit) for shape in shapes]
        self._egress = [Link(shape.rate_mbit) for shape in shapes]
        self._in_flight = 0
        self._stats = stats

    def is_neutral(self, source: int, destination: int) -> bool:
        """True if messages between two nodes need not come here at all."""
        return self._shapes[source].is_neutral and self._shapes[destination].is_neutral

    def close(self) -> None:
        """Lose what is under way."""
        self._scheduler.close()

    def carry(
        self, source: int, destination: int, size: int, dice: random.Random, arrive: Callable[[], None]
    ) -> None:
        """Call ``arrive`` when a message of ``size`` bytes has come from node to node, or never.

        ``dice`` decides about loss and jitter: always two numbers a message, so that the n-th message of one
        seed meets one fate, whatever else the shapes say and whoever sends in between.
        """
        chance, swing = dice.random(), dice.uniform(-1.0, 1.0)
        first, second = self._shapes[source], self._shapes[destination]
        kept = ((1 - first.loss_pct / 100) * (1 - second.loss_pct / 100)) ** 0.5
        if chance >= kept:
            self._stats.lost += 1
            return
        now = self._loop.time()
        entered = self._ingress[source].send(now, size)
        if entered is None or self._in_flight + size > MAX_IN_FLIGHT_BYTES:
            self._stats.queue_full += 1
            return
        latency = (first.latency_ms + second.latency_ms) / 2
        jitter = (first.jitter_ms + second.jitter_ms) / 2 * swing
        self._in_flight += size

        reached = entered + max(0.0, latency + jitter) / 1e3

        def leave() -> None:
            # By the time at which it was due: a timer that comes late would cost the link a part of its rate.
            left = self._egress[destination].send(reached, size)
            if left is None:
                self._in_flight -= size
                self._stats.queue_full += 1
            else:
                self._scheduler.call_at(left, finish)

        def finish() -> None:
            self._in_flight -= size
            arrive()

        self._scheduler.call_at(reached, leave if second.rate_mbit else finish)
