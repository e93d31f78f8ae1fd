"""Arithmetic of sequence numbers: 32 bits that count 1, 2, … 2³²−1, 1, …; 0 means "no data".

Source: util.go of ncp-go and util.js of @nkn/ncp (NextSeq, SeqInBetween, CompareSeq).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

FIRST_SEQUENCE = 1
MAX_SEQUENCE = 2**32 - 1
# How many numbers there are: 0 is not one of them.
CYCLE = MAX_SEQUENCE
# Of two numbers, the one at most half a cycle ahead is the later one (as in @nkn/ncp; ncp-go says so for one
# distance less, far outside of any window).
HALF_CYCLE = MAX_SEQUENCE // 2


def advance(sequence: int, step: int) -> int:
    """The number `step` places after `sequence` (before it, where step is negative)."""
    return (sequence - FIRST_SEQUENCE + step) % CYCLE + FIRST_SEQUENCE


def distance(start: int, sequence: int) -> int:
    """How many steps lead from `start` forward to `sequence`: 0 to CYCLE − 1."""
    return (sequence - start) % CYCLE


def between(start: int, end: int, sequence: int) -> bool:
    """Whether `sequence` lies in start ≤ … < end, which may wrap. start == end is empty."""
    return distance(start, sequence) < distance(start, end)


def compare(a: int, b: int) -> int:
    """−1, 0 or 1 as `a` is earlier than, equal to or later than `b`."""
    if a == b:
        return 0
    return -1 if distance(a, b) <= HALF_CYCLE else 1


def merge(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open intervals (begin, end) in order, with those that touch or overlap made one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            if end > merged[-1][1]:
                merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    return merged


def covers(merged: list[tuple[int, int]], offset: int) -> bool:
    """Whether one of the intervals that merge() gave holds `offset`."""
    place = bisect_right(merged, offset, key=lambda interval: interval[0])
    return place > 0 and offset < merged[place - 1][1]
