from __future__ import annotations

import pytest

from nconnect.ncp.rate import MAX_FILTER_SECONDS, DeliveryRate


def round_trip(rate: DeliveryRate, size: int, sent_at: float, now: float, *, limited: bool = True) -> float:
    rate.on_delivered(size, sent_at, rate.on_sent(sent_at, idle=True))
    return rate.sample(now, limited=limited)


def test_bytes_over_the_time_that_they_took() -> None:
    rate = DeliveryRate()
    snapshot = rate.on_sent(1.0, idle=True)
    for _ in range(10):
        rate.on_delivered(1000, 1.0, snapshot)
    assert rate.sample(1.1, limited=True) == pytest.approx(100e3)
    assert rate.maximum == pytest.approx(100e3)


def test_acks_in_a_heap_are_no_rate() -> None:
    """Ten packets sent 10 ms apart, whose ACKs come within a millisecond."""
    rate = DeliveryRate()
    snapshots = [rate.on_sent(1 + i / 100, idle=not i) for i in range(10)]
    for i, snapshot in enumerate(snapshots):
        rate.on_delivered(1000, 1 + i / 100, snapshot)
        rate.sample(2.0 + i / 10_000, limited=True)
    assert rate.maximum <= 10_000 / 0.09


def test_an_idle_time_is_not_counted() -> None:
    rate = DeliveryRate()
    round_trip(rate, 1000, 1.0, 1.1)
    snapshot = rate.on_sent(60.0, idle=True)
    rate.on_delivered(10_000, 60.0, snapshot)
    assert rate.sample(60.1, limited=True) == pytest.approx(100e3)


def test_the_best_of_a_while_counts() -> None:
    rate = DeliveryRate()
    now = 1.0
    for size in (10_000, 100_000, 10_000, 10_000):
        round_trip(rate, size, now, now + 0.1)
        now += 0.1
    assert rate.maximum == pytest.approx(1e6)
    while now < 1.5 + 2 * MAX_FILTER_SECONDS:
        round_trip(rate, 10_000, now, now + 0.1)
        now += 0.1
    assert rate.maximum == pytest.approx(100e3)


def test_who_sends_little_learns_nothing_about_the_path() -> None:
    rate = DeliveryRate()
    round_trip(rate, 100_000, 1.0, 1.1)
    for i in range(100):
        round_trip(rate, 10, 2.0 + i, 2.1 + i, limited=False)
    assert rate.maximum == pytest.approx(1e6)


def test_nothing_delivered_at_no_time() -> None:
    rate = DeliveryRate()
    assert rate.sample(1.0, limited=True) == 0
    assert round_trip(rate, 1000, 1.0, 1.0) == 0
    assert rate.maximum == 0
