"""The control loop in virtual time: what passes, what is dropped, how often."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nconnect.packet.codel import MAX_COUNT, Codel

INTERVAL = 0.1
ENOUGH = 1500
BACKLOG = 100_000


def drops(
    waits: float, seconds: float, codel: Codel | None = None, start: float = 0.0, backlog: int = BACKLOG
) -> list[float]:
    """When packets are dropped that leave every millisecond, each after it `waits`."""
    codel = codel or Codel()
    times = (start + step / 1000 for step in range(round(seconds * 1000)))
    return [now for now in times if codel.should_drop(waits, backlog, now, INTERVAL, ENOUGH)]


def test_a_short_wait_is_no_queue() -> None:
    assert drops(0.004, 10.0) == []


def test_a_burst_that_drains_within_an_interval_is_let_through() -> None:
    assert drops(0.5, 0.099) == []


def test_what_the_link_sends_at_once_is_no_queue() -> None:
    assert drops(0.5, 10.0, backlog=ENOUGH) == []


def test_a_standing_queue_is_told_once_an_interval_and_then_ever_more_often() -> None:
    times = drops(0.02, 1.0)[:MAX_COUNT]
    assert 0.1 <= times[0] < 0.102
    gaps = [second - first for first, second in pairwise(times)]
    assert 0.09 < gaps[0] < 0.11
    assert all(later < earlier + 0.002 for earlier, later in pairwise(gaps))
    # The square root law: the n-th is due after interval * sum of 1 / sqrt(i).
    assert times[-1] == pytest.approx(0.1 + INTERVAL * sum(i**-0.5 for i in range(1, MAX_COUNT)), abs=0.01)


def test_a_sender_that_does_not_answer_loses_no_more_and_more() -> None:
    times = drops(0.02, 60.0)
    gaps = [second - first for first, second in pairwise(times[MAX_COUNT:])]
    assert min(gaps) > 0.018
    assert len(times) == pytest.approx(60 * 50, rel=0.02)


def test_it_stops_when_the_queue_is_gone_and_begins_again_where_it_was() -> None:
    codel = Codel()
    first = drops(0.02, 1.0, codel)
    assert drops(0.001, 0.5, codel, 1.0) == []
    again = drops(0.02, 0.5, codel, 1.5)
    assert 1.6 <= again[0] < 1.602
    assert again[1] - again[0] < 0.05 < first[1] - first[0]


def test_a_queue_that_comes_much_later_is_a_new_one() -> None:
    codel = Codel()
    first = drops(0.02, 1.0, codel)
    assert drops(0.001, 5.0, codel, 1.0) == []
    again = drops(0.02, 0.5, codel, 6.0)
    assert abs((again[1] - again[0]) - (first[1] - first[0])) < 0.002
