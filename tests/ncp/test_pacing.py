from __future__ import annotations

import math

import pytest

from nconnect.ncp.congestion import PACING_GAIN
from nconnect.ncp.pacing import EARLY, UNPACED_RATE, Pacer
from nconnect.ncp.path import MESSAGE_TIME, MIN_MESSAGE


def send_for(
    pacer: Pacer, seconds: float, size: int, rate: float, now: float = 10.0, *, exact: bool = True
) -> int:
    """Bytes sent, with a timer that goes off when it is ready, or at the millisecond next to that."""
    end, sent = now + seconds, 0
    while now < end:
        if pacer.ready(now):
            pacer.on_sent(size, rate, now)
            sent += size
        else:
            now = pacer.ready_at if exact else math.ceil(pacer.ready_at * 1e3 - 0.5) / 1e3
    return sent


@pytest.mark.parametrize("size", [1024, 8192, 131072])
def test_sends_at_the_rate(size: int) -> None:
    rate = 5e6
    assert send_for(Pacer(), 1.0, size, rate) == pytest.approx(rate, abs=2 * size)


@pytest.mark.parametrize("rate", [1e6, 3e6, 5e6, 12.5e6, 40e6])
def test_the_gain_pays_for_timers_that_know_milliseconds_only(rate: float) -> None:
    size = max(MIN_MESSAGE, int(rate * MESSAGE_TIME))
    sent = send_for(Pacer(), 1.0, size, rate * PACING_GAIN, exact=False)
    assert 0.99 * rate <= sent <= PACING_GAIN * rate + 2 * size


@pytest.mark.parametrize("size", [100, 1000, 8192])
def test_after_a_pause_no_two_packets_of_some_size_go_at_once(size: int) -> None:
    """They would wait for each other at the relay, and look like its queue."""
    pacer, rate = Pacer(), 5e6
    send_for(pacer, 1.0, size, rate)
    sent = 0
    while pacer.ready(50.0):
        pacer.on_sent(size, rate, 50.0)
        sent += size
    assert sent <= rate * EARLY + size


@pytest.mark.parametrize("rate", [UNPACED_RATE, math.inf])
def test_what_is_quicker_than_a_timer_is_not_paced(rate: float) -> None:
    pacer = Pacer()
    for _ in range(1000):
        assert pacer.ready(10.0)
        pacer.on_sent(131072, rate, 10.0)
