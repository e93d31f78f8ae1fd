from __future__ import annotations

from nconnect.ncp.timers import NEVER, Timer, TimerTable


def test_places_in_the_table_are_distinct() -> None:
    assert sorted(Timer) == list(range(len(Timer)))


def test_next_timeout_is_the_earliest() -> None:
    table = TimerTable()
    assert table.next_timeout() is None
    table.set(Timer.LOSS, 3.0)
    table.set(Timer.ACK, 2.0)
    assert table.next_timeout() == 2.0
    table.stop(Timer.ACK)
    assert table.next_timeout() == 3.0
    table.set(Timer.LOSS, NEVER)
    assert table.next_timeout() is None


def test_due_timers_come_once_and_in_their_order() -> None:
    table = TimerTable()
    table.set(Timer.DIAL, 2.0)
    table.set(Timer.LINGER, 1.0)
    table.set(Timer.ACK, 5.0)
    assert table.expire(4.0) == [Timer.LINGER, Timer.DIAL]
    assert table.expire(4.0) == []
    table.stop_all()
    assert table.next_timeout() is None
