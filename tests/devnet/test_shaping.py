"""Shaping in virtual time."""

from __future__ import annotations

import random
from functools import partial

import pytest

from nconnect.devnet import Shape, Stats, shaping
from nconnect.devnet.scheduler import TICK
from nconnect.devnet.shaping import MAX_QUEUE_SECONDS, Shaper

from .virtual_loop import VirtualLoop


class Trip:
    """Messages through a shaper, and when they arrived, in seconds from the start."""

    def __init__(self, *shapes: Shape, seed: int = 1) -> None:
        self.loop = VirtualLoop()
        self.stats = Stats()
        self.shaper = Shaper(shapes, self.loop, self.stats)
        self.dice = random.Random(seed)
        self.arrivals: list[tuple[int, float]] = []

    def send(self, count: int = 1, size: int = 1000, source: int = 0, destination: int = 0) -> None:
        for number in range(count):
            self.shaper.carry(source, destination, size, self.dice, partial(self._arrive, number))

    def _arrive(self, number: int) -> None:
        self.arrivals.append((number, round(self.loop.now - 1000.0, 6)))

    def run(self) -> list[tuple[int, float]]:
        self.loop.run()
        return self.arrivals


def test_latency_is_one_way_for_the_whole_trip() -> None:
    trip = Trip(Shape(latency_ms=30))
    trip.send(3)
    assert trip.run() == [(0, 0.03), (1, 0.03), (2, 0.03)]


def test_timers_that_are_late_are_no_queue() -> None:
    """A link is as quick as it is said to be, be the machine busy or not."""
    for late in ([], [0.005, 0.005], [0.0015] * 40):
        trip = Trip(Shape(latency_ms=20, rate_mbit=8))
        trip.loop.late = late
        trip.send(50)
        assert trip.run()[-1][1] == pytest.approx(0.071, abs=TICK)
        assert [number for number, _ in trip.arrivals] == list(range(50)), "one link keeps the order"


def test_each_node_adds_half_of_its_latency() -> None:
    trip = Trip(Shape(latency_ms=20), Shape(latency_ms=200))
    trip.send(source=0, destination=1)
    trip.send(source=1, destination=0)
    trip.send(source=0, destination=0)
    assert [when for _, when in trip.run()] == [0.02, 0.11, 0.11]


def test_jitter_spreads_messages_evenly_around_the_latency() -> None:
    trip = Trip(Shape(latency_ms=50, jitter_ms=20))
    trip.send(2000)
    times = [when for _, when in trip.run()]
    assert abs(min(times) - 0.030) <= TICK
    assert abs(max(times) - 0.070) <= TICK
    assert abs(sum(times) / len(times) - 0.050) <= TICK
    assert [number for number, _ in trip.arrivals] != list(range(2000)), "jitter lets messages overtake"


def test_jitter_above_the_latency_does_not_go_back_in_time() -> None:
    trip = Trip(Shape(latency_ms=1, jitter_ms=20))
    trip.send(100)
    assert min(when for _, when in trip.run()) == 0.0


def test_loss_is_about_what_was_asked_and_one_seed_drops_alike() -> None:
    def survivors(seed: int, shape: Shape) -> list[int]:
        trip = Trip(shape, seed=seed)
        trip.send(10_000)
        kept = sorted(number for number, _ in trip.run())
        assert trip.stats.lost == 10_000 - len(kept)
        return kept

    kept = survivors(7, Shape(loss_pct=5))
    assert 9400 < len(kept) < 9600
    # Neither another run nor jitter changes what is dropped; another seed does.
    assert survivors(7, Shape(loss_pct=5)) == kept
    assert survivors(7, Shape(loss_pct=5, jitter_ms=30)) == kept
    assert survivors(8, Shape(loss_pct=5)) != kept


def test_all_or_nothing_is_lost() -> None:
    for loss, expected in ((100, 0), (0, 50)):
        trip = Trip(Shape(loss_pct=loss, latency_ms=1))
        trip.send(50)
        assert len(trip.run()) == expected


def test_rate_spaces_messages_by_their_size() -> None:
    # 1 Mbit/s: 1,250 bytes take 10 ms into the network and 10 ms out of it.
    trip = Trip(Shape(rate_mbit=1))
    trip.send(3, size=1250)
    assert trip.run() == [(0, 0.02), (1, 0.03), (2, 0.04)]


def test_the_slower_node_sets_the_pace_both_ways() -> None:
    for source, destination in ((0, 1), (1, 0)):
        trip = Trip(Shape(), Shape(rate_mbit=1))
        trip.send(3, size=1250, source=source, destination=destination)
        assert trip.run() == [(0, 0.01), (1, 0.02), (2, 0.03)]


def test_the_two_directions_of_a_node_do_not_share_its_rate() -> None:
    trip = Trip(Shape(), Shape(rate_mbit=1))
    trip.send(2, size=1250, source=0, destination=1)
    trip.send(2, size=1250, source=1, destination=0)
    assert [when for _, when in trip.run()] == [0.01, 0.01, 0.02, 0.02]


def test_a_queue_of_messages_is_bounded_in_time() -> None:
    trip = Trip(Shape(rate_mbit=1))
    trip.send(100, size=1250)
    expected = int(MAX_QUEUE_SECONDS / 0.01) + 1
    assert len(trip.run()) == expected
    assert trip.stats.queue_full == 100 - expected


def test_a_message_larger_than_the_queue_passes_an_idle_link() -> None:
    trip = Trip(Shape(rate_mbit=1))
    trip.send(1, size=131_072)
    trip.run()
    trip.send(1, size=131_072)
    assert len(trip.run()) == 2


def test_what_is_under_way_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shaping, "MAX_IN_FLIGHT_BYTES", 10_000)
    trip = Trip(Shape(latency_ms=100))
    trip.send(15, size=1000)
    assert len(trip.run()) == 10
    assert trip.stats.queue_full == 5
    trip.send(10, size=1000)
    assert len(trip.run()) == 20


def test_only_shaped_nodes_cost_anything() -> None:
    shaper = Trip(Shape(), Shape(), Shape(latency_ms=1)).shaper
    assert shaper.is_neutral(0, 1)
    assert not shaper.is_neutral(0, 2)
    assert not shaper.is_neutral(2, 0)
