"""So much at once, so much in the long run, and a clock that goes back."""

from __future__ import annotations

from nconnect.permission.bucket import Bucket


def taken(bucket: Bucket, times: int, now: float) -> int:
    return sum(bucket.take(now) for _ in range(times))


def test_so_many_at_once_and_in_the_long_run() -> None:
    bucket = Bucket(3, 0.5, 100.0)
    assert taken(bucket, 10, 100.0) == 3
    assert taken(bucket, 10, 101.0) == 0
    assert taken(bucket, 10, 102.0) == 1
    assert taken(bucket, 10, 1e6) == 3


def test_a_clock_that_is_set_back_stops_nothing_for_long() -> None:
    bucket = Bucket(1, 1.0, 1e9)
    assert bucket.take(1e9)
    assert not bucket.take(5.0)
    assert bucket.take(6.0)
