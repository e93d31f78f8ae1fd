"""Which path takes the next packet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .path import MIN_MESSAGE, Path
from .timers import NEVER

# Consecutive small packets stay on one path for so many bytes: ncp-go acknowledges at most 32 ranges every
# 50 ms on each path, so packets that take turns among paths would starve it of room for ACKs.
RUN_BYTES = 64 << 10


def first_choice(paths: Sequence[Path], size: int) -> Path:
    """The quickest for `size` bytes, of those that the peer was heard on if there are any.

    A sub-client may be dead without anybody having noticed, and a new session's first packet would cost a
    whole initial time-out there.
    """
    return min(paths, key=lambda path: (not path.heard, path.delivery_time(size)))


class Scheduler:
    """Chooses among the paths of a session: the one that delivers first."""

    __slots__ = ("_current", "_left", "_paths", "pace_at")

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._current: Path | None = None
        self._left = 0
        self.pace_at = NEVER

    def candidates(self) -> list[Path]:
        """The ready paths that are to be trusted, or if there is none, the others that are ready."""
        ready = [path for path in self._paths if path.ready]
        return [path for path in ready if not path.suspect] or ready

    @property
    def rate(self) -> float:
        """Bytes per second that the paths deliver together; infinite while one takes all that is sent."""
        return sum((path.rate for path in self.candidates()), 0.0) or math.inf

    def message_size(self) -> float:
        """Bytes of a message that suits the path which takes the next one; infinite if any does."""
        candidates = self.candidates()
        if not candidates:
            return math.inf
        path = min(
            candidates, key=lambda path: (not path.has_room(MIN_MESSAGE), path.delivery_time(MIN_MESSAGE))
        )
        return path.message_size

    def choose(self, size: int, backlog: int, now: float, *, more: bool = False) -> Path | None:
        """The path for a packet of `size` bytes while `backlog` bytes wait, or None: wait.

        `more`: the application has as much again as any path takes.

        After None, `pace_at` is when to ask again although no ACK came.
        """
        current = self._current
        if (
            current is not None
            and self._left >= size
            and current.ready
            and not current.suspect
            and current.open(size, now)
        ):
            self._left -= size
            return current
        candidates = self.candidates()
        if not candidates:
            return None
        best = first_choice(candidates, size)
        if not best.open(size, now):
            # Rather than take a path where it arrives later, wait for the best (ECF, Lim et al. 2017).
            patience = best.delivery_time(backlog + more * best.congestion.window)
            open_paths = [path for path in candidates if path.open(size, now)]
            best = min(open_paths, key=lambda path: path.delivery_time(size), default=best)
            if not open_paths or best.delivery_time(size) > patience:
                self._wait_for_pace(candidates, size, now)
                return None
        self._current = best
        self._left = RUN_BYTES - size
        return best

    def _wait_for_pace(self, candidates: Sequence[Path], size: int, now: float) -> None:
        for path in candidates:
            if not path.pacer.ready(now) and path.has_room(size):
                self.pace_at = min(self.pace_at, path.pacer.ready_at)

    def tails_to_probe(self, now: float) -> list[Path]:
        """Paths on which an ACK is late."""
        return [path for path in self._paths if path.in_flight and path.tail_time() <= now]

    def suspects_to_probe(self, now: float) -> list[Path]:
        """Ready paths that are to be tried again with a copy, while others carry the data."""
        return [path for path in self._probing() if path.probe_at <= now]

    def next_probe(self) -> float:
        """When suspects_to_probe() has the next one, NEVER if there is none."""
        return min((path.probe_at for path in self._probing()), default=NEVER)

    def _probing(self) -> list[Path]:
        suspects = [path for path in self._paths if path.ready and path.suspect]
        if suspects and any(path.ready and not path.suspect for path in self._paths):
            return suspects
        return []
