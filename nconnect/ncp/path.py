"""One path: a pair of sub-clients, what is in flight between them, and when that is lost."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

from .acks import AckQueue
from .config import Config
from .congestion import CongestionWindow
from .pacing import Pacer
from .packet import AckRange
from .rtt import GRANULARITY, MAX_RTO, RoundTripTime
from .send import Segment
from .sequence import HALF_CYCLE, advance, covers, distance, merge
from .stats import PathStats
from .timers import NEVER

# Packets sent later on the same path and acknowledged, after which a packet may be taken for lost
# (RFC 9002 kPacketThreshold), if it is older than a round trip and this part as well: relays reorder.
PACKET_THRESHOLD = 3
TIME_THRESHOLD_PART = 0.25
# How far the time threshold is stretched on a path that turned out to reorder, and by how much each time.
MAX_REORDERING = 4.0
REORDERING_STEP = 1.5
# A message should take no longer than this on its path, in seconds: who comes next waits for so long behind
# it, and it waits at each relay until it is there whole.
MESSAGE_TIME = 0.003
# The smallest that is worth its cost. NKN adds some 200 bytes to each message; and where a busy processor
# makes a path slow, smaller messages would make it slower still.
MIN_MESSAGE = 8 << 10
# Before the rate is known, how many messages fill the window.
STARTUP_MESSAGES = 8
# A resent packet that is acknowledged within this part of a round trip was not lost.
EIFEL_PART = 0.5
# Packets given up and probes sent lately, to recognise an ACK that comes after all; older ones are forgotten.
MAX_GIVEN_UP = 256
MAX_PROBES = 16
# Doublings of the time-out: from the shortest to beyond the longest.
MAX_BACKOFF = 6


class Path:
    """State of one path. An ACK comes back on the path that the data took, so round trips are its own."""

    __slots__ = (
        "_acknowledged",
        "_backoff",
        "_given_up",
        "_late",
        "_limit",
        "_mtu",
        "_newest",
        "_order",
        "_probes",
        "_refused",
        "_reordering",
        "_sent_before_timeout",
        "_tail_probed",
        "acks",
        "bytes_in_flight",
        "bytes_received",
        "bytes_sent",
        "congestion",
        "heard",
        "in_flight",
        "local_id",
        "pacer",
        "probe_at",
        "ready",
        "remote_id",
        "rtt",
        "suspect",
    )

    def __init__(self, config: Config, local_id: str, remote_id: str, mtu: int, window: int) -> None:
        """`mtu`, `window`: what the session sends with, in bytes."""
        self.local_id = local_id
        self.remote_id = remote_id
        self._mtu = mtu
        self._limit = window
        self.acks = AckQueue(config.ack_delay, config.ack_bytes)
        self.ready = True
        self.heard = False
        """Whether anything of the peer's ever came here: before that, nobody knows that the way exists."""
        self.bytes_sent = 0
        self.bytes_received = 0
        self._order = 0
        self.in_flight: OrderedDict[int, Segment] = OrderedDict()
        """What was sent here and is neither acknowledged nor given up, the oldest first."""
        self.bytes_in_flight = 0
        self.restart()

    def restart(self) -> None:
        """Forget what was measured: the sub-client may be at another node now."""
        self.rtt = RoundTripTime()
        self.congestion = CongestionWindow(self._mtu, self._limit)
        self.pacer = Pacer()
        self._given_up: OrderedDict[int, None] = OrderedDict()  # sequence numbers
        self._probes: OrderedDict[int, float] = OrderedDict()  # when sent, by sequence number
        self._late = 0  # ACKs of what was given up here, since the last on_late_acks()
        self._newest = -1  # `order` of the newest packet, sent once, that was acknowledged
        self._acknowledged = 0  # bytes since the last end_acks()
        self._refused = False  # had no room for a packet since then
        self._reordering = 1.0
        self._tail_probed = False  # since the last ACK
        self._backoff = 0
        self._sent_before_timeout = self._order  # `order` of the newest packet sent before the last time-out
        self.suspect = False
        """Lost all that was under way, and no ACK came since: not to be trusted with data."""
        self.probe_at = -math.inf

    # Sending

    @property
    def rto(self) -> float:
        """Retransmission time-out in seconds, backed off."""
        return min(self.rtt.rto * (1 << self._backoff), MAX_RTO)

    @property
    def rate(self) -> float:
        """Bytes per second that it delivers; infinite as long as it took all that was sent."""
        return self.congestion.rate or math.inf

    @property
    def message_size(self) -> float:
        """Bytes of a message that takes its time, but does not hold up others for long."""
        rate = self.congestion.rate
        size = self.congestion.window / STARTUP_MESSAGES if rate is None else rate * MESSAGE_TIME
        return max(size, MIN_MESSAGE)

    def open(self, size: int, now: float) -> bool:
        """Whether a packet of `size` bytes may be sent now."""
        return self.pacer.ready(now) and self.has_room(size)

    def has_room(self, size: int) -> bool:
        """Whether the window takes a packet of `size` bytes; when asked, there is one."""
        if not self.in_flight or self.bytes_in_flight + size <= self.congestion.window:
            return True
        self._refused = True
        return False

    def delivery_time(self, size: int) -> float:
        """Seconds until `size` more bytes would be acknowledged."""
        return self.congestion.delivery_time(self.bytes_in_flight + size)

    def on_sent(self, segment: Segment, now: float) -> None:
        self._order += 1
        segment.order = self._order
        segment.path = self
        segment.sent_at = now
        segment.snapshot = self.congestion.delivery.on_sent(now, idle=not self.in_flight)
        segment.transmissions += 1
        self.in_flight[segment.sequence] = segment
        self.bytes_in_flight += segment.size
        self.bytes_sent += segment.size
        self.pacer.on_sent(segment.size, self.congestion.pacing_rate, now)

    def on_probe_sent(self, segment: Segment, now: float) -> None:
        """A copy of a packet that is under way elsewhere went out here; lost or not, it delays nobody."""
        self._probes[segment.sequence] = now
        if len(self._probes) > MAX_PROBES:
            self._probes.popitem(last=False)
        self.bytes_sent += segment.size
        self.probe_at = now + self.rto
        self._backoff = min(self._backoff + 1, MAX_BACKOFF)

    def tail_time(self) -> float:
        """When to send a copy of the newest packet in flight, as no ACK came in time; NEVER if not.

        A tail loss probe (RFC 8985, 7): what nothing overtakes is not found lost before the time-out, which
        is longer and costs the path its window. Once, until something that was sent once is acknowledged.
        """
        if self._tail_probed or self.suspect or not self.in_flight or self.rtt.smoothed is None:
            return NEVER
        newest = next(reversed(self.in_flight.values()))
        return newest.sent_at + self.rtt.smoothed + self.rtt.slack

    def on_tail_probed(self) -> Segment:
        """The packet of which a copy goes out now, here or elsewhere."""
        self._tail_probed = True
        newest = next(reversed(self.in_flight.values()))
        newest.transmissions += 1  # its ACK tells no time
        return newest

    # ACKs

    def on_acknowledged(self, segment: Segment, now: float) -> None:
        """A packet in flight here arrived, whatever path its ACK took."""
        del self.in_flight[segment.sequence]
        self.bytes_in_flight -= segment.size
        self._acknowledged += segment.size
        segment.path = None
        self.suspect = False
        # Karn: the ACK of a resent packet may be for an earlier sending, and tells neither time nor order.
        if segment.transmissions == 1:
            self._backoff = 0
            self._tail_probed = False
            self._newest = max(self._newest, segment.order)
            self.congestion.on_delivered(segment.size, segment.sent_at, segment.snapshot)
        elif segment.sequence in self._given_up:
            # Given up and resent on this same path: an ACK this soon is for the first (Eifel, RFC 3522).
            del self._given_up[segment.sequence]
            if now - segment.sent_at < self.rtt.expected * EIFEL_PART:
                self._late += 1

    def on_rtt(self, sent_at: float, now: float, size: int = 0) -> None:
        """A packet of `size` bytes took from `sent_at` until now; 0: one whose size tells nothing."""
        self.rtt.sample(now - sent_at)
        self.congestion.on_rtt(now - sent_at, size, sent_at, now, self.rtt.lateness)

    def on_late_acks(self, ranges: Sequence[AckRange], now: float) -> int:
        """ACKs came on this path; how many prove that a loss declared here was none.

        Call it after on_acknowledged() for the same ACKs.
        """
        self._take_late_acks(ranges, now)
        late, self._late = self._late, 0
        if late:
            self.suspect = False
            self._reordering = min(self._reordering * REORDERING_STEP, MAX_REORDERING)
            self.congestion.on_spurious_loss()
        return late

    def end_acks(self, now: float) -> None:
        """The ACKs of one packet are through."""
        if self._acknowledged:
            self.rtt.on_ack_packet(now)
            in_flight = self.bytes_in_flight + self._acknowledged
            self.congestion.on_ack(self._acknowledged, in_flight, now, refused=self._refused)
            self._acknowledged = 0
            self._refused = False

    def _take_late_acks(self, ranges: Sequence[AckRange], now: float) -> None:
        waiting = [*self._probes, *self._given_up]
        if not waiting:
            return
        reference = advance(waiting[0], -HALF_CYCLE)
        begins = [(distance(reference, start), count) for start, count in ranges]
        merged = merge([(begin, begin + count) for begin, count in begins])
        for sequence in waiting:
            if covers(merged, distance(reference, sequence)):
                self._on_late_ack(sequence, now)

    # Losses

    def loss_time(self) -> float:
        """When the oldest packet in flight is to be taken for lost; NEVER if nothing is."""
        if not self.in_flight:
            return NEVER
        oldest = next(iter(self.in_flight.values()))
        return min(self._reordered_out_at(oldest), self._times_out_at(oldest))

    def detect_lost(self, now: float) -> list[Segment]:
        """Give up what is lost by now and return it."""
        lost: list[Segment] = []
        timed_out = False
        while self.in_flight:
            oldest = next(iter(self.in_flight.values()))
            if self._reordered_out_at(oldest) <= now:
                self.congestion.on_loss(oldest.size, oldest.sent_at, now)
            elif self._times_out_at(oldest) <= now:
                timed_out = True
            else:
                break
            del self.in_flight[oldest.sequence]
            self._drop(oldest)
            lost.append(oldest)
        if timed_out:
            self._on_timeout(lost[-1], now)
        return lost

    def drop_all(self) -> list[Segment]:
        """Give up all that is in flight, because the sub-client lost its connection."""
        segments = list(self.in_flight.values())
        self.in_flight.clear()
        for segment in segments:
            self._drop(segment)
        return segments

    def stats(self) -> PathStats:
        return PathStats(
            local_id=self.local_id,
            remote_id=self.remote_id,
            ready=self.ready,
            suspect=self.suspect,
            srtt=self.rtt.smoothed,
            rto=self.rto,
            window=self.congestion.window,
            in_flight=self.bytes_in_flight,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
        )

    # Inside

    def _on_late_ack(self, sequence: int, now: float) -> None:
        probe_sent_at = self._probes.pop(sequence, None)
        given_up = sequence in self._given_up
        self._given_up.pop(sequence, None)
        if probe_sent_at is None:
            self._late += given_up
            return
        self.suspect = False
        self._backoff = 0
        # Karn: had it been sent here before, the ACK could be for that.
        if not given_up:
            self.on_rtt(probe_sent_at, now)

    def _times_out_at(self, segment: Segment) -> float:
        # Only what was sent after a time-out is given the longer time that follows from it.
        return segment.sent_at + (self.rto if segment.order > self._sent_before_timeout else self.rtt.rto)

    def _reordered_out_at(self, segment: Segment) -> float:
        later = self._newest - segment.order
        if later <= 0 or self.rtt.smoothed is None:
            return NEVER
        rtt = max(self.rtt.smoothed, self.rtt.latest)
        if later >= PACKET_THRESHOLD:
            # Overtaken by one whose ACK was the last of a tick, it is in the next one.
            slack = max(TIME_THRESHOLD_PART * rtt, self.rtt.ack_hold + GRANULARITY)
        else:
            slack = self.rtt.slack
        return segment.sent_at + (rtt + slack) * self._reordering

    def _on_timeout(self, newest: Segment, now: float) -> None:
        if newest.order > self._sent_before_timeout:
            self._backoff = min(self._backoff + 1, MAX_BACKOFF)
            self._sent_before_timeout = self._order
            self.congestion.on_timeout(now)
            self.suspect = True
            self.probe_at = now

    def _drop(self, segment: Segment) -> None:
        self.bytes_in_flight -= segment.size
        segment.path = None
        self._given_up[segment.sequence] = None
        if len(self._given_up) > MAX_GIVEN_UP:
            self._given_up.popitem(last=False)
