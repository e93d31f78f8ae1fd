"""When to tell the peer how much our application has read, so that its window never stays shut."""

from __future__ import annotations

from .timers import NEVER

# Tell at once when this part of the window was read since the last time.
URGENT_PART = 4
# ncp-go tells it alone after 200 ms (SendBytesReadThreshold).
QUIET_DELAY = 0.2
# A lost bytes_read would keep the window of a peer that waits for it shut for ever: no SDK asks for it. So it
# is told again while nothing new arrives, if the peer may be waiting at all: after this time, then doubling.
REPEAT_DELAY = 0.5
MAX_REPEATS = 4


class WindowUpdates:
    """Decides when `bytes_read` is due. Any packet that carries it counts as telling."""

    __slots__ = ("_repeats", "_told", "_window_size", "bytes_read", "deadline")

    def __init__(self, window_size: int) -> None:
        self._window_size = window_size
        self._told = 0
        self._repeats = 0
        self.bytes_read = 0
        self.deadline = NEVER
        """When to tell it alone, on every path."""

    @property
    def urgent(self) -> bool:
        """Whether to tell it now, on one path."""
        return (self.bytes_read - self._told) * URGENT_PART >= self._window_size

    def on_read(self, size: int, now: float) -> None:
        if not size:
            return
        if self.bytes_read == self._told:
            self.deadline = now + QUIET_DELAY
        self.bytes_read += size

    def on_new_data(self) -> None:
        """The peer can send, so it does not wait for us."""
        self._repeats = 0

    def on_told(self, now: float, *, alone: bool = False) -> None:
        self._told = self.bytes_read
        if alone:
            self._repeats += 1
        # A peer that has sent less than half a window in all cannot be waiting.
        if self.bytes_read * 2 >= self._window_size and self._repeats <= MAX_REPEATS:
            self.deadline = now + REPEAT_DELAY * 2**self._repeats
        else:
            self.deadline = NEVER
