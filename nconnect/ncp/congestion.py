"""How much may be under way on one path, and how fast it may be sent.

Twice as much each round trip until the path delivers no more for it or its queue grows; from then on what it
delivers in its base round-trip time and a little more, as BBR (draft-ietf-ccwg-bbr) has it. The little more
finds out whether the path has become quicker, and is all that may queue: FAST TCP (Wei et al. 2006) holds its
queue this way. To replace the algorithm, replace this class: a path calls its methods and reads `window`,
`rate` and `pacing_rate`.
"""

from __future__ import annotations

import math

from .minimum import RecentMinimum
from .pacing import UNPACED_RATE
from .rate import DeliveryRate, Snapshot
from .rtt import ASSUMED_RTT

# Enough for the first flight of a handshake and a request; the websocket below has TCP's own slow start.
INITIAL_WINDOW = 64 << 10
MIN_WINDOW = 8 << 10
# Queueing in seconds that is aimed at, and the part of the base round-trip time on top: how quickly a window
# follows a path that gets quicker.
QUEUE_TARGET = 0.003
QUEUE_TARGET_PART = 1 / 16
# Of that queue, the part below which there is none to speak of. The window then grows twice as fast with each
# round, up to so many times: a path that is far from full must not take seconds to fill.
NO_QUEUE_PART = 0.5
MAX_PROBE = 4
# Of the rate, what is left at least after a round with too long a queue: it may have been a processor's.
QUEUE_BACKOFF = 0.8
# Packets on top: what leaves one relay is not yet at the next.
EXTRA_PACKETS = 1
# And as many more on a path that has its relays for itself, where ACKs wait behind data and nobody else fills
# the gaps that late timers leave. Where paths share a relay, the extra packets of all would queue there.
EXTRA_PACKETS_ALONE = 1
# The part of its relays' rate above which a path begins to count as alone there.
ALONE_PART = 0.75
# Relays on a path that each have a packet whole before they pass it on.
RELAYS = 2
# The smallest packet whose time tells what its bytes cost, and not how busy a processor was.
MIN_TIMED = 4 << 10
# Rounds in which more was sent and no more delivered, after which slow start has found the rate, and what
# counts as more (BBR's StartupFullBwCnt and -Thresh).
PLATEAU_ROUNDS = 3
PLATEAU_GROWTH = 1.25
# Of the window, what may be lost in a round trip while nothing queues, and packets on top: relays lose some
# for reasons of their own, to which sending less is no answer (BBRv2 tolerates 2 % as well).
LOSS_TOLERATED_PART = 50
LOSS_TOLERATED_PACKETS = 2
# What is left of the window after a loss (BBRv2), and the part by which it is let grow again each round.
LOSS_BACKOFF = 0.7
RECOVERY_PART = 16
# ACKs in a row that tell of a queue, after which slow start ends: it doubles within a round trip, so it is
# not left to run to the end of one (RFC 9406 takes the least of 8, of ACKs that are not held back).
SLOW_START_SAMPLES = 4
# A base round-trip time older than this may be of another route (BBR's ProbeRTT interval), so every so often
# the queue is drained to see it: with this part of what the path holds, for so many round trips.
BASE_LIFETIME = 10.0
DRAIN_PART = 0.75
DRAIN_ROUNDS = 3
# Rounds in a row in which next to nothing was sent, and the round trip was still longer than its base: that
# is no queue of ours, but another route, or the queue of somebody who does not care.
STUCK_ROUNDS = 2
# How much faster than it delivers a path is sent on: within the window that only evens out bursts. Where a
# message takes 1.6 ms, the rounding of timers takes all of it.
PACING_GAIN = 1.25


class CongestionWindow:
    """Window in bytes, driven by ACKs, round-trip times and losses."""

    __slots__ = (
        "_base",
        "_base_epoch",
        "_before_loss",
        "_ceiling",
        "_draining",
        "_largest",
        "_late",
        "_limit",
        "_overshoots",
        "_packet",
        "_per_byte",
        "_plateau_rate",
        "_plateau_rounds",
        "_probe",
        "_queue_rounds",
        "_queue_seen",
        "_recovery_start",
        "_round_limited",
        "_round_lost",
        "_round_min",
        "_round_start",
        "delivery",
        "in_slow_start",
        "window",
    )

    def __init__(self, packet: int, limit: int) -> None:
        """`packet`: bytes of a full packet; `limit`: bytes that the session's window allows anyway."""
        self._packet = packet
        self._largest = 0
        self._limit = max(limit, MIN_WINDOW)
        self.window = min(INITIAL_WINDOW, self._limit)
        self.in_slow_start = True
        self.delivery = DeliveryRate()
        self._ceiling = self._limit
        self._before_loss = 0
        self._recovery_start = -math.inf
        self._base = RecentMinimum()  # round-trip time in seconds
        self._per_byte = RecentMinimum()  # seconds by which a byte makes a round trip longer
        self._base_epoch = -math.inf
        self._late = 0.0
        self._draining = 0
        self._round_start = -math.inf
        self._round_min = math.inf
        self._round_limited = False
        self._round_lost = 0
        self._plateau_rate = 0.0
        self._plateau_rounds = 0
        self._queue_seen = False
        self._queue_rounds = 0
        self._overshoots = 0
        self._probe = 1

    @property
    def rate(self) -> float | None:
        """Bytes per second that the path delivers; None as long as it took all that was sent."""
        return None if self.in_slow_start else self.delivery.maximum

    def delivery_time(self, size: int) -> float:
        """Seconds until `size` bytes would be acknowledged, those under way included."""
        base = ASSUMED_RTT if self._base.value == math.inf else self._base.value
        rate = self.delivery.maximum
        if self.in_slow_start:
            rate = self.window / base if base else math.inf
        return base + (size / rate if rate else 0.0)

    @property
    def pacing_rate(self) -> float:
        """Bytes per second to send at; infinite before the rate was measured."""
        if self.in_slow_start or self._base.value == math.inf:
            return math.inf
        return max(PACING_GAIN * self.delivery.maximum, self.window / (self._base.value + self._slack))

    def on_delivered(self, size: int, sent_at: float, snapshot: Snapshot) -> None:
        """A packet arrived that was sent once; `snapshot` is what delivery.on_sent() gave for it."""
        self.delivery.on_delivered(size, sent_at, snapshot)
        if size > self._largest:
            self._largest = size

    def on_ack(self, size: int, in_flight: int, now: float, *, refused: bool) -> None:
        """`size` bytes were acknowledged, of `in_flight` that were under way before.

        `refused`: there was no room for a packet since the last ACK.
        """
        self.delivery.sample(now, limited=refused)
        # A window that is not used says nothing about the path (RFC 7661).
        if not refused and in_flight * 2 < self.window:
            return
        self._round_limited = True
        if self.in_slow_start:
            target = self._limit
        elif self._draining:
            target = int(self.delivery.maximum * self._base.value * DRAIN_PART)
        else:
            target = self._fitting()
        self.window = max(min(self.window + size, target, self._ceiling), MIN_WINDOW)

    def on_rtt(self, rtt: float, size: int, sent_at: float, now: float, late: float) -> None:
        """A packet of `size` bytes sent at `sent_at` took `rtt`, of which up to `late` is not the path's."""
        self._late = late
        self._update_base(rtt, size, now)
        self._round_min = min(self._round_min, rtt)
        if self.in_slow_start:
            self._check_overshoot(rtt)
        if sent_at >= self._round_start:
            self._end_round(now)

    def on_loss(self, size: int, sent_at: float, now: float) -> None:
        """A packet sent at `sent_at` is lost, others behind it arrived. Backs off once per round trip."""
        if sent_at <= self._recovery_start:
            return
        self._round_lost += size
        tolerated = self.window // LOSS_TOLERATED_PART + LOSS_TOLERATED_PACKETS * self._packet
        if not self._queue_seen and self._round_lost <= tolerated:
            return
        self._round_lost = 0
        self._before_loss = self.window
        self._recovery_start = now
        self.window = self._ceiling = max(int(self.window * LOSS_BACKOFF), MIN_WINDOW)
        self.in_slow_start = False

    def on_spurious_loss(self) -> None:
        """The last loss was none."""
        self.window = max(self.window, self._before_loss)
        self._ceiling = max(self._ceiling, self._before_loss)
        self._before_loss = 0

    def on_timeout(self, now: float) -> None:
        """Nothing arrives any more."""
        self._before_loss = self.window
        self._recovery_start = now
        self._ceiling = min(max(self.window // 2, INITIAL_WINDOW), self._limit)
        self.window = MIN_WINDOW
        self._queue_seen = False

    # Inside

    @property
    def _slack(self) -> float:
        """Seconds beyond the base round-trip time for which the window has packets."""
        return self._late + self._queue_target

    @property
    def _queue_target(self) -> float:
        return QUEUE_TARGET + QUEUE_TARGET_PART * self._base.value

    @property
    def _alone(self) -> float:
        """From 0 to 1: whether the path has its relays for itself, so that a packet takes its time at each.

        The rate of the relays is known from what a packet's bytes add to its round trip.
        """
        if self._per_byte.value == math.inf:
            return 0.0
        share = self._per_byte.value * self.delivery.maximum / RELAYS
        return min(max((share - ALONE_PART) / (1 - ALONE_PART), 0.0), 1.0)

    @property
    def _full(self) -> float:
        """Seconds that a full packet takes there and back without a queue; the small are quicker."""
        rate = self.delivery.maximum
        return self._base.value + (RELAYS * self._alone * self._packet / rate if rate else 0.0)

    @property
    def _extra(self) -> float:
        """Packets on top of what the base round trip holds."""
        return EXTRA_PACKETS + EXTRA_PACKETS_ALONE * self._alone

    def _fitting(self) -> int:
        rate = self.delivery.maximum
        seconds = self._base.value + self._late + self._probe * self._queue_target
        return int(rate * seconds + self._extra * self._packet)

    def _update_base(self, rtt: float, size: int, now: float) -> None:
        # By the clock, not by the path's own time: paths that share a bottleneck must drain it together.
        epoch = now // BASE_LIFETIME
        if epoch != self._base_epoch:
            if self._base_epoch != -math.inf and self._round_limited and not self.in_slow_start:
                self._draining = DRAIN_ROUNDS
            self._base.rotate()
            self._per_byte.rotate()
            self._base_epoch = epoch
        self._base.add(rtt)
        if size >= MIN_TIMED:
            self._per_byte.add((rtt - self._base.value) / size)

    def _check_overshoot(self, rtt: float) -> None:
        self._queue_seen = self._round_limited and rtt > self._full + self._slack
        self._overshoots = self._overshoots + 1 if self._queue_seen else 0
        if self._overshoots >= SLOW_START_SAMPLES:
            self._leave_slow_start(queued=True)

    def _judge_queue(self) -> None:
        serial = (1 + self._extra) * self._packet / self.delivery.maximum
        tolerated = self._base.value + self._slack + serial
        self._queue_seen = self._round_min > tolerated
        probed, self._probe = self._probe, 1
        if self._round_min < self._full + NO_QUEUE_PART * self._queue_target:
            self._probe = min(probed * 2, MAX_PROBE)
        if not self._queue_seen:
            self._queue_rounds = 0
        elif probed == 1:
            self._shorten_queue(tolerated)
        if self._probe < probed:
            self._settle()

    def _shorten_queue(self, tolerated: float) -> None:
        """More queues than may: the path delivers less than it did, or others share it."""
        if self.window <= MIN_WINDOW + self._packet:
            self._queue_rounds += 1
            if self._queue_rounds > STUCK_ROUNDS:
                self._start_over()
                return
        self.delivery.limit(self.delivery.maximum * max(tolerated / self._round_min, QUEUE_BACKOFF))
        self._settle()

    def _start_over(self) -> None:
        self._base.reset(self._round_min)
        self._per_byte.reset()
        self._queue_rounds = 0
        self._plateau_rate = 0.0
        self._plateau_rounds = 0
        self.in_slow_start = True

    def _leave_slow_start(self, *, queued: bool) -> None:
        self._overshoots = 0
        self.in_slow_start = False
        self._settle()
        # What slow start has queued would look like the time that packets take, if that is any to speak of.
        if queued and self.delivery.maximum < UNPACED_RATE:
            self._draining = DRAIN_ROUNDS

    def _settle(self) -> None:
        self.window = max(min(self.window, self._fitting()), MIN_WINDOW)

    def _end_round(self, now: float) -> None:
        if not self._round_limited:
            pass
        elif self.in_slow_start:
            if self._round_min > self._full + self._slack:
                self._leave_slow_start(queued=True)
            else:
                self._check_plateau()
        elif self.delivery.maximum:
            self._judge_queue()
        if not self._round_lost:
            self._ceiling = min(
                self._ceiling + max(self._ceiling // RECOVERY_PART, self._packet), self._limit
            )
        self._draining = max(self._draining - 1, 0)
        if self._largest:
            self._packet, self._largest = self._largest, 0
        self._round_start = now
        self._round_min = math.inf
        self._round_lost = 0
        self._round_limited = False

    def _check_plateau(self) -> None:
        if self.delivery.maximum >= self._plateau_rate * PLATEAU_GROWTH:
            self._plateau_rate = self.delivery.maximum
            self._plateau_rounds = 0
            return
        self._plateau_rounds += 1
        if self._plateau_rounds >= PLATEAU_ROUNDS:
            self._leave_slow_start(queued=False)
