from __future__ import annotations

import random

from nconnect.ncp.acks import MAX_PENDING, AckQueue
from nconnect.ncp.packet import MAX_ACK_RANGES
from nconnect.ncp.sequence import MAX_SEQUENCE, advance
from nconnect.ncp.timers import NEVER


def numbers(ranges: list[tuple[int, int]]) -> set[int]:
    return {advance(start, i) for start, count in ranges for i in range(count)}


def test_waits_for_company_but_not_longer_than_the_delay() -> None:
    queue = AckQueue(0.010, 1000)
    assert not queue
    queue.add(1, 100, 5.0)
    queue.add(2, 100, 5.005)
    assert queue.deadline == 5.010
    assert queue.take() == [(1, 2)]
    assert not queue
    assert queue.deadline == NEVER


def test_waits_no_longer_once_enough_came() -> None:
    queue = AckQueue(0.010, 1000)
    queue.add(1, 600, 5.0)
    queue.add(2, 600, 5.002)
    assert queue.deadline == 5.002


def test_repeats_the_ranges_of_the_packet_before() -> None:
    queue = AckQueue(0.010, 1000)
    queue.add(5, 1, 0.0)
    assert queue.take() == [(5, 1)]
    queue.add(6, 1, 1.0)
    assert queue.take() == [(5, 2)]
    queue.add(9, 1, 2.0)
    assert queue.take() == [(6, 1), (9, 1)]


def test_ranges_run_across_the_wrap() -> None:
    queue = AckQueue(0.010, 1000)
    for sequence in (2, MAX_SEQUENCE, 1, MAX_SEQUENCE - 1):
        queue.add(sequence, 1, 0.0)
    assert queue.take() == [(MAX_SEQUENCE - 1, 4)]


def test_more_ranges_than_one_packet_holds() -> None:
    queue = AckQueue(0.010, 1)
    wanted = set(range(1, 4 * MAX_ACK_RANGES, 2))
    for sequence in wanted:
        queue.add(sequence, 1, 0.0)
    first = queue.take()
    assert len(first) == MAX_ACK_RANGES
    assert queue.deadline == 0.0
    second = queue.take()
    assert len(second) == MAX_ACK_RANGES
    assert numbers(first) | numbers(second) == wanted
    assert not queue


def test_whatever_was_added_is_named_and_nothing_else() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        base = rng.choice([1, 1000, MAX_SEQUENCE - 50])
        wanted = {advance(base, rng.randrange(200)) for _ in range(rng.randrange(1, 150))}
        queue = AckQueue(0.010, 1000)
        for sequence in sorted(wanted, key=lambda _: rng.random()):
            queue.add(sequence, 1, 0.0)
        named: set[int] = set()
        while queue:
            ranges = queue.take()
            assert len(ranges) <= MAX_ACK_RANGES
            named |= numbers(ranges)
        assert named == wanted, f"seed {seed}"


def test_a_flood_is_bounded() -> None:
    queue = AckQueue(0.010, 1000)
    for sequence in range(1, MAX_PENDING + 100):
        queue.add(sequence, 0, 0.0)
    assert numbers(queue.take()) == set(range(1, MAX_PENDING + 1))
