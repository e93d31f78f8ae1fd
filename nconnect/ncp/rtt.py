"""Round-trip time of one path and the retransmission time-out. Source: RFC 6298."""

from __future__ import annotations

from collections import deque

INITIAL_RTO = 1.0
# An official peer acknowledges every 50 ms only. So it is until the peer proves to be quicker.
LONGEST_ACK_HOLD = 0.05
# Gaps between ACK packets that are remembered, and of these in order, the one that is believed: a few are too
# short because the network delivered two ACKs together.
GAPS_KEPT = 16
GAP_BELIEVED = 4
# ACK packets no further apart were one in the peer's mind, that named too much for one packet.
TOGETHER = 0.0002
# Of the mean deviation, what most samples stay within.
JITTER_PART = 2
# Timers of the peer and of ourselves, and what the machine needs to get round to it.
GRANULARITY = 0.01
MIN_RTO = 0.2
MAX_RTO = 10.0
# For a path on which nothing was measured yet: what two relays on one continent take.
ASSUMED_RTT = 0.1


class RoundTripTime:
    """Estimator of RFC 6298, in seconds. Samples include the time that the peer holds its ACK back."""

    __slots__ = ("_acked_at", "_gaps", "ack_hold", "latest", "rto", "smoothed", "variation")

    def __init__(self) -> None:
        self._gaps: deque[float] = deque([LONGEST_ACK_HOLD] * GAPS_KEPT, GAPS_KEPT)
        self._acked_at: float | None = None
        self.ack_hold = LONGEST_ACK_HOLD
        """How long the peer may hold back an ACK: no longer than from one ACK packet to the next."""
        self.smoothed: float | None = None
        self.variation = 0.0
        self.latest = 0.0
        self.rto = INITIAL_RTO

    def on_ack_packet(self, now: float) -> None:
        """A packet with ACKs of new data came."""
        if self._acked_at is not None:
            if now - self._acked_at < TOGETHER:
                return
            self._gaps.append(now - self._acked_at)
            self.ack_hold = min(sorted(self._gaps)[GAP_BELIEVED], LONGEST_ACK_HOLD)
        self._acked_at = now

    def sample(self, rtt: float) -> None:
        self.latest = rtt
        if self.smoothed is None:
            self.smoothed = rtt
            self.variation = rtt / 2
        else:
            self.variation += (abs(self.smoothed - rtt) - self.variation) / 4
            self.smoothed += (rtt - self.smoothed) / 8
        self.rto = min(max(self.smoothed + self.slack, MIN_RTO), MAX_RTO)

    @property
    def expected(self) -> float:
        return ASSUMED_RTT if self.smoothed is None else self.smoothed

    @property
    def lateness(self) -> float:
        """How much of a round trip may be the machines', not the path's: a held ACK, a busy processor."""
        return min(max(self.ack_hold, JITTER_PART * self.variation), LONGEST_ACK_HOLD)

    @property
    def slack(self) -> float:
        """How much later than usual an ACK may well come."""
        return max(4 * self.variation, self.ack_hold + GRANULARITY)
