"""The timers of a connection: one table, one next time-out."""

from __future__ import annotations

import enum
import math

NEVER = math.inf


class Timer(enum.IntEnum):
    """Each member says when it goes off. The numbers are places in the table."""

    HANDSHAKE = 0
    """When to send the handshake again."""

    DIAL = 1
    """When to give up dialling."""

    LOSS = 2
    """When to take what is not acknowledged for lost."""

    PACE = 11
    """When the next packet may leave, if only its path's pace holds it back."""

    TAIL = 12
    """When to send a copy of a packet whose ACK is late."""

    PROBE = 3
    """When to try a path again that lost everything."""

    ACK = 4
    """When to send ACKs that wait for company."""

    WINDOW = 5
    """When to tell bytes_read for its own sake."""

    PERSIST = 6
    """When to ask a peer with a full window whether it has read meanwhile."""

    FLUSH = 7
    """When to send a part-filled packet of a stream."""

    ASK = 8
    """When to ask an idle peer whether it is still there."""

    DEAD = 9
    """When to give up on a peer that is silent while data waits for its ACK, or that does not answer."""

    SILENT = 13
    """When to look whether a peer that answers nothing, although it was sent something, is gone."""

    LINGER = 10
    """When to close although not all is acknowledged and read."""


class TimerTable:
    """When each timer goes off, in seconds; NEVER for those that are not set."""

    __slots__ = ("_when",)

    def __init__(self) -> None:
        self._when = [NEVER] * len(Timer)

    def set(self, timer: Timer, when: float) -> None:
        self._when[timer] = when

    def stop(self, timer: Timer) -> None:
        self._when[timer] = NEVER

    def stop_all(self) -> None:
        self._when = [NEVER] * len(Timer)

    def next_timeout(self) -> float | None:
        """When the next one goes off, None for never."""
        when = min(self._when)
        return None if when == NEVER else when

    def expire(self, now: float) -> list[Timer]:
        """Stop those that are due and return them, the earliest first."""
        due = sorted((timer for timer in Timer if self._when[timer] <= now), key=self._when.__getitem__)
        for timer in due:
            self.stop(timer)
        return due
