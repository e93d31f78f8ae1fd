"""Whether an idle peer is still there: when to ask, and since when it owes the answer."""

from __future__ import annotations

from .timers import NEVER

# Seconds until it is asked again, on another path: the question or the answer was lost, or the path is dead.
ASK_INTERVAL = 10.0


class KeepAlive:
    """Times of one session while nothing waits for its ACK, which would be a question in itself.

    NCP has no question, so what is sent is the number of a packet that was acknowledged before, or that comes
    before the first: every receiver, those of the SDKs too, acknowledges it again, and delivers nothing.
    """

    __slots__ = ("_asked_last", "_interval", "asked_at", "heard_at", "questions")

    def __init__(self, interval: float, now: float) -> None:
        """`interval`: seconds of silence after which the peer is asked; 0: never."""
        self._interval = interval or NEVER
        self._asked_last = now
        self.heard_at = now
        self.asked_at = NEVER
        """When the first question without an answer went out; NEVER if there is none."""
        self.questions = 0
        """How many there were since."""

    @property
    def due(self) -> float:
        """When to ask."""
        return self._asked_last + ASK_INTERVAL if self.questions else self.heard_at + self._interval

    def on_heard(self, now: float) -> None:
        self.heard_at = now
        self.asked_at = NEVER
        self.questions = 0

    def on_asked(self, now: float) -> None:
        self._asked_last = now
        self.asked_at = min(self.asked_at, now)
        self.questions += 1

    def on_cut_off(self) -> None:
        """We lost all our connections: whom we do not hear now may be well."""
        self.asked_at = NEVER
