from __future__ import annotations

from nconnect.ncp.timers import NEVER
from nconnect.ncp.window import MAX_REPEATS, QUIET_DELAY, WindowUpdates


def test_a_quarter_of_the_window_is_told_at_once() -> None:
    updates = WindowUpdates(1000)
    updates.on_read(249, 0.0)
    assert not updates.urgent
    updates.on_read(1, 0.0)
    assert updates.urgent
    updates.on_told(0.0)
    assert not updates.urgent


def test_less_is_told_after_200_ms() -> None:
    updates = WindowUpdates(1000)
    updates.on_read(1, 5.0)
    updates.on_read(1, 5.1)
    assert updates.deadline == 5.0 + QUIET_DELAY
    updates.on_told(5.2, alone=True)
    assert updates.deadline == NEVER


def test_reading_nothing_tells_nothing() -> None:
    updates = WindowUpdates(1000)
    updates.on_read(0, 5.0)
    assert updates.deadline == NEVER


def test_repeated_while_a_peer_with_a_full_window_may_wait_for_it() -> None:
    updates = WindowUpdates(1000)
    updates.on_read(1000, 0.0)
    updates.on_told(0.0)
    times = []
    while updates.deadline != NEVER:
        times.append(updates.deadline)
        updates.on_told(updates.deadline, alone=True)
    assert len(times) == MAX_REPEATS + 1
    assert times[-1] < 20.0
