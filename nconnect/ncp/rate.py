"""How fast one path delivers, measured from its ACKs.

Source: draft-cheng-iccrg-delivery-rate-estimation-02; of BBR (draft-ietf-ccwg-bbr) the maximum over a while,
as what is delivered late because a processor was busy says nothing about the path.
"""

from __future__ import annotations

# A path that got slower is believed to be as quick as before for one to two of these, in seconds; the queue
# that builds up there is noticed sooner.
MAX_FILTER_SECONDS = 0.5

Snapshot = tuple[int, float, float]
"""When a packet was sent: bytes delivered by then, when the last of them were, and when that one was sent."""


class DeliveryRate:
    """Bytes per second that arrive while as much is sent as the path takes."""

    __slots__ = (
        "_delivered",
        "_earlier",
        "_latest",
        "_newest",
        "_newest_sent_at",
        "_rotated_at",
        "_snapshot",
    )

    def __init__(self) -> None:
        self._delivered = 0
        self._snapshot: Snapshot = (0, 0.0, 0.0)
        self._newest: Snapshot | None = None
        self._newest_sent_at = 0.0
        self._earlier = self._latest = 0.0
        self._rotated_at = 0.0

    @property
    def maximum(self) -> float:
        """The best of the last while; 0 before anything was measured."""
        return max(self._earlier, self._latest)

    def on_sent(self, now: float, *, idle: bool) -> Snapshot:
        """A packet is sent, `idle`: with nothing else under way; what to keep with it."""
        if idle:
            self._snapshot = (self._delivered, now, now)
        return self._snapshot

    def on_delivered(self, size: int, sent_at: float, snapshot: Snapshot) -> None:
        """An ACK names a packet of `size` bytes."""
        self._delivered += size
        if self._newest is None or sent_at >= self._newest_sent_at:
            self._newest = snapshot
            self._newest_sent_at = sent_at

    def sample(self, now: float, *, limited: bool) -> float:
        """All that one ACK packet names is through; the rate up to it, or 0 if it tells none.

        `limited`: no more was sent because the path took no more. Otherwise it may be quicker than that.
        """
        if self._newest is None:
            return 0.0
        delivered, delivered_at, first_sent_at = self._newest
        # The longer of both: ACKs that come in a heap would tell of a rate that nothing was sent at.
        interval = max(now - delivered_at, self._newest_sent_at - first_sent_at)
        self._snapshot = (self._delivered, now, self._newest_sent_at)
        self._newest = None
        if interval <= 0:
            return 0.0
        rate = (self._delivered - delivered) / interval
        if limited and now - self._rotated_at >= MAX_FILTER_SECONDS:
            self._earlier, self._latest = self._latest, 0.0
            self._rotated_at = now
        if limited or rate > self.maximum:
            self._latest = max(self._latest, rate)
        return rate

    def limit(self, rate: float) -> None:
        """It cannot have been more than this."""
        self._earlier = min(self._earlier, rate)
        self._latest = min(self._latest, rate)
