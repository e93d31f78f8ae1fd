"""Relays with a rate, as the devnet has them, between the ends of a `Pair`; and what the overlay sends."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nconnect.ncp import Config, Mode

from .pair import Endpoint, Link, Pair

OVERLAY = Config(mode=Mode.UNORDERED, mtu=132 << 10, window_size=16 << 20)
# What NKN adds to a message.
OVERHEAD = 230
SMALL = 100
MBIT = 1e6 / 8


@dataclass
class Station:
    """One direction of a relay: messages leave one after the other, each once it is there whole."""

    rate: float  # bytes per second
    queue: float = 0.25  # seconds that it buffers
    busy_until: float = 0.0
    dropped: int = 0

    def leave(self, size: int, now: float) -> float | None:
        start = max(now, self.busy_until)
        if start - now > self.queue:
            self.dropped += 1
            return None
        self.busy_until = start + size / self.rate
        return self.busy_until


@dataclass
class RelayLink(Link):
    """Through the sender's relay and the receiver's; other paths may take the same ones."""

    stations: Sequence[Station] = ()

    def arrivals(self, size: int, now: float, rng: random.Random) -> list[float]:
        if self.down or rng.random() < self.loss:
            return []
        when = now + self.delay
        for station in self.stations:
            left = station.leave(size + OVERHEAD, when)
            if left is None:
                return []
            when = left
        return [when]


def relayed(
    rates: Sequence[float],
    *,
    shared: bool = False,
    same_relay: bool = False,
    seed: int = 0,
    loss: float = 0.0,
) -> Pair:
    """Four paths, 20 ms one way: each over relays of its own rate (bytes per second), or all over one.

    `same_relay`: both ends of a path are at one relay, so what one sends waits behind what the other does.
    """
    pair = Pair(OVERLAY, seed=seed, paths=4)
    if shared:
        one = {sender: _two(rates[0]) for sender in (True, False)}
        return _connect(pair, lambda sender, path: one[sender], loss)
    if same_relay:
        both_ways = [_two(rate) for rate in rates]
        return _connect(pair, lambda sender, path: both_ways[path], loss)
    return _connect(pair, lambda sender, path: _two(rates[path]), loss)


def rivals(rate: float, *, seed: int = 0) -> tuple[Pair, Pair]:
    """Two sessions of different people over the same two relays (bytes per second), 20 ms one way."""
    one = {sender: _two(rate) for sender in (True, False)}

    def session(seed: int) -> Pair:
        return _connect(Pair(OVERLAY, seed=seed, paths=4), lambda sender, path: one[sender])

    return session(seed), session(seed + 1)


def _two(rate: float) -> list[Station]:
    """The sender's relay and the receiver's."""
    return [Station(rate), Station(rate)]


def _connect(pair: Pair, stations: Callable[[bool, int], Sequence[Station]], loss: float = 0.0) -> Pair:
    """Establish a session whose path `i`, from the dialler or not, goes through `stations(dialler, i)`."""
    for sender in (True, False):
        for i in range(4):
            pair.links[sender, f"__{i}__"] = RelayLink(delay=0.02, loss=loss, stations=stations(sender, i))
    return pair.establish()


def run_together(pairs: Sequence[Pair], until: float) -> None:
    """Let all reach this time, in steps so small that they meet at the relays."""
    now = min(pair.now for pair in pairs)
    while now < until:
        now += 0.001
        for pair in pairs:
            pair.run_for(max(now - pair.now, 0.0))


@dataclass
class Traffic(deque[bytes]):
    """The outbox of a tunnel: bulk without end, in messages of the size that suits; small ones go first."""

    endpoint: Endpoint
    bulk: bool = True
    urgent: deque[bytes] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return self.bulk or bool(self.urgent)

    def __getitem__(self, index: object) -> bytes:  # type: ignore[override]
        if self.urgent:
            return self.urgent[0]
        return bytes(max(self.endpoint.connection.message_size_hint, SMALL + 1))

    def popleft(self) -> bytes:
        return self.urgent.popleft() if self.urgent else b""


@dataclass(frozen=True)
class Measured:
    rate: float
    """Bytes per second."""
    latencies: list[float]
    """Seconds that small messages took, in order of length."""

    def percentile(self, part: float) -> float:
        return self.latencies[int(len(self.latencies) * part)]


def measure(pair: Pair, seconds: float, *, bulk: bool = True) -> Measured:
    """Send bulk from dialler to acceptor, or not, and a small message now and then."""
    traffic = pair.dialler.outbox = Traffic(pair.dialler, bulk)
    start, before = pair.now, pair.acceptor.received_bytes
    sent: list[float] = []
    while pair.now < start + seconds:
        traffic.urgent.append(len(sent).to_bytes(8, "big") + bytes(SMALL - 8))
        sent.append(pair.now)
        pair.run_for(pair.rng.uniform(0.02, 0.04))
    rate = (pair.acceptor.received_bytes - before) / (pair.now - start)
    traffic.bulk = False
    pair.run_for(1.0)
    received = zip(pair.acceptor.received, pair.acceptor.received_at, strict=True)
    took = sorted(
        when - sent[int.from_bytes(message[:8], "big")] for message, when in received if len(message) == SMALL
    )
    pair.acceptor.received.clear()
    pair.acceptor.received_at.clear()
    return Measured(rate, took)
