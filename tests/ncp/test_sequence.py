"""Sequence arithmetic against vectors computed by @nkn/ncp."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.ncp.sequence import MAX_SEQUENCE, advance, between, compare, covers, distance, merge

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
sequences = st.integers(1, MAX_SEQUENCE)
steps = st.integers(-(2**33), 2**33)


@pytest.mark.parametrize("vector", VECTORS["next_seq"], ids=str)
def test_advance(vector: dict[str, Any]) -> None:
    assert advance(vector["seq"], vector["step"]) == vector["result"]


@pytest.mark.parametrize("vector", VECTORS["compare_seq"], ids=str)
def test_compare(vector: dict[str, Any]) -> None:
    assert compare(vector["a"], vector["b"]) == vector["result"]


@pytest.mark.parametrize("vector", VECTORS["seq_in_between"], ids=str)
def test_between(vector: dict[str, Any]) -> None:
    assert between(vector["start"], vector["end"], vector["target"]) == vector["result"]


@given(sequences, steps)
def test_zero_is_never_reached(sequence: int, step: int) -> None:
    assert 1 <= advance(sequence, step) <= MAX_SEQUENCE


@given(sequences, steps)
def test_a_step_back_undoes_a_step(sequence: int, step: int) -> None:
    assert advance(advance(sequence, step), -step) == sequence


@given(sequences, st.integers(0, MAX_SEQUENCE - 1))
def test_distance_counts_steps(sequence: int, step: int) -> None:
    assert distance(sequence, advance(sequence, step)) == step


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10))))
def test_merged_intervals_hold_the_same_numbers_once(pairs: list[tuple[int, int]]) -> None:
    intervals = [(begin, begin + length) for begin, length in pairs]
    merged = merge(intervals)
    numbers = {number for begin, end in intervals for number in range(begin, end)}
    assert [number for begin, end in merged for number in range(begin, end)] == sorted(numbers)
    assert {number for number in range(60) if covers(merged, number)} == numbers
