from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import UsageError
from nconnect.secure.replay import ReplayWindow


class NaiveWindow:
    """Remembers every counter that was ever marked."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.marked: set[int] = set()

    def check(self, counter: int) -> bool:
        return counter not in self.marked and counter > max(self.marked, default=-1) - self.size

    def mark(self, counter: int) -> None:
        self.marked.add(counter)


# Steps back and forth around the highest counter, at the scale of bits, of blocks and of windows.
steps = st.one_of(st.integers(-3, 3), st.integers(-80, 80), st.integers(-300, 300))


@given(st.sampled_from([8, 16, 64, 128]), st.lists(steps, max_size=200))
def test_agrees_with_a_window_that_forgets_nothing(size: int, moves: list[int]) -> None:
    window, naive = ReplayWindow(size), NaiveWindow(size)
    highest = 0
    for move in moves:
        counter = max(highest + move, 0)
        assert window.check(counter) == naive.check(counter), counter
        if naive.check(counter):
            window.mark(counter)
            naive.mark(counter)
            highest = max(highest, counter)
    for counter in range(max(highest - 2 * size, 0), highest + 2 * size):
        assert window.check(counter) == naive.check(counter), counter


def test_checking_alone_changes_nothing() -> None:
    window = ReplayWindow(64)
    assert window.check(1 << 63)
    assert window.check(0)
    window.mark(0)
    assert not window.check(0)


def test_the_edges_of_the_window() -> None:
    window = ReplayWindow(64)
    window.mark(100)
    assert window.check(37) and not window.check(36)


def test_marking_what_is_too_old_disturbs_nothing() -> None:
    window = ReplayWindow(64)
    window.mark(1000)
    window.mark(1000 - 72)
    assert window.check(999) and not window.check(1000)
    assert all(window.check(counter) for counter in range(1000 - 63, 1000))


def test_a_jump_to_the_last_counter_of_all() -> None:
    window = ReplayWindow(64)
    window.mark(3)
    window.mark(2**64 - 1)
    assert not window.check(2**64 - 1) and window.check(2**64 - 2) and not window.check(3)


@pytest.mark.parametrize("size", [0, -8, 12])
def test_sizes_that_are_no_multiple_of_a_block_are_refused(size: int) -> None:
    with pytest.raises(UsageError):
        ReplayWindow(size)
