from __future__ import annotations

import pytest

from nconnect.ncp.congestion import INITIAL_WINDOW, LOSS_BACKOFF, MIN_WINDOW, CongestionWindow

LIMIT = 16 << 20
MANY = 100 << 10
PACKET = 1024
BASE = 0.1


def run_rounds(
    window: CongestionWindow, rounds: int, rtt: float = BASE, now: float = 1.0, late: float = 0.0
) -> float:
    """Use the whole window for so many round trips, each of the same length: a path without a limit."""
    for _ in range(rounds):
        sent_at = now
        size = window.window
        snapshot = window.delivery.on_sent(sent_at, idle=False)
        now += rtt
        for _ in range(size // PACKET):
            window.on_delivered(PACKET, sent_at, snapshot)
        window.on_ack(size, size, now, refused=True)
        window.on_rtt(rtt, PACKET, sent_at, now, late)
    return now


def run_bottleneck(
    window: CongestionWindow, rounds: int, rate: float, now: float = 1.0, others: int = 0
) -> float:
    """The same over a path that delivers `rate` bytes a second, and queues the rest and `others` bytes."""
    for _ in range(rounds):
        now = run_rounds(window, 1, max(BASE, (window.window + others) / rate), now)
    return now


def test_slow_start_doubles_up_to_the_session_window() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    assert window.window == INITIAL_WINDOW
    run_rounds(window, 3)
    assert window.window == INITIAL_WINDOW * 8
    run_rounds(window, 20)
    assert window.window == LIMIT


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    for i in range(100):
        window.on_ack(1000, 2000, i / 10, refused=False)
        window.on_rtt(BASE if i < 50 else 3 * BASE, PACKET, i / 10, i / 10, 0.0)
    assert window.window == INITIAL_WINDOW
    assert window.rate is None, "nobody tried what the path can do"


@pytest.mark.parametrize("rate", [250e3, 2.5e6, 100e6])
def test_what_is_under_way_is_what_the_path_holds_and_a_little_more(rate: float) -> None:
    window = CongestionWindow(PACKET, LIMIT)
    window.on_rtt(BASE, PACKET, 0.0, BASE, 0.0)  # the handshake
    now = run_bottleneck(window, 30, rate)
    assert window.rate == pytest.approx(rate, rel=0.05)
    assert rate * BASE < window.window < rate * (BASE + 0.015) + 4 * PACKET
    assert window.pacing_rate > rate
    run_bottleneck(window, 200, rate, now)
    assert rate * BASE * 0.99 < window.window < rate * (BASE + 0.015) + 4 * PACKET


def test_a_path_that_gets_quicker_is_followed() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_bottleneck(window, 30, 1e6)
    run_bottleneck(window, 30, 5e6, now)
    assert window.rate == pytest.approx(5e6, rel=0.05)


def test_a_path_that_gets_slower_is_followed_within_some_round_trips() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_bottleneck(window, 30, 10e6)
    run_bottleneck(window, 10, 1e6, now)
    assert window.window < 1e6 * BASE * 1.3


def test_slow_start_ends_when_more_brings_no_more() -> None:
    """A policer: no queue, all that is too much is lost."""
    window = CongestionWindow(PACKET, LIMIT)
    now = 1.0
    for _ in range(12):
        sent_at, now = now, now + BASE
        window.on_delivered(100_000, sent_at, window.delivery.on_sent(sent_at, idle=False))
        window.on_ack(window.window, window.window, now, refused=True)
        window.on_rtt(BASE, PACKET, sent_at, now, 0.0)
    assert not window.in_slow_start
    assert window.rate == pytest.approx(1e6, rel=0.1)


def test_the_ack_timer_of_an_official_peer_is_not_taken_for_a_queue() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 1, 0.005, late=0.05)
    run_rounds(window, 6, 0.055, now, late=0.05)
    assert window.in_slow_start
    assert window.window == INITIAL_WINDOW * 128


def test_back_off_on_loss_once_per_round_trip() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 4)
    before = window.window
    window.on_loss(MANY, now - 0.05, now)
    window.on_loss(MANY, now - 0.04, now + 0.01)
    assert window.window == int(before * LOSS_BACKOFF)
    window.on_loss(MANY, now + 0.02, now + 0.12)
    assert window.window == int(int(before * LOSS_BACKOFF) * LOSS_BACKOFF)


def test_a_packet_now_and_then_is_not_for_sending_too_much() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 4)
    before = window.window
    for _ in range(10):
        window.on_loss(PACKET, now, now + 0.1)
        window.on_loss(PACKET, now, now + 0.1)
        now = run_rounds(window, 1, now=now)
    assert window.window >= before
    before = window.window
    window.on_loss(before // 50, now, now + 0.1)
    window.on_loss(before // 50, now, now + 0.1)
    assert window.window < before


def test_any_packet_lost_from_a_full_queue_counts() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 3)
    now = run_rounds(window, 2, 0.3, now)
    before = window.window
    window.on_loss(PACKET, now, now + 0.1)
    assert window.window == int(before * LOSS_BACKOFF)


def test_it_grows_again_after_a_loss() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 6)
    before = window.window
    window.on_loss(before, now - 0.05, now)
    now = run_rounds(window, 1, now=now)
    assert window.window < before * 0.8
    run_rounds(window, 10, now=now)
    assert window.window > before


def test_a_loss_that_was_none_is_forgiven() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    before = window.window
    window.on_loss(MANY, 1.0, 1.1)
    window.on_spurious_loss()
    assert window.window == before


def test_a_timeout_starts_over() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_rounds(window, 4)
    before = window.window
    window.on_timeout(now)
    assert window.window == MIN_WINDOW
    run_rounds(window, 20, now=now)
    assert window.window > before // 2


def test_a_new_route_gives_a_new_base() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_bottleneck(window, 20, 10e6)
    now = run_rounds(window, 30, 0.25, now)
    assert window.window > 10e6 * 0.25, "a longer route is taken for a queue for ever"


def test_the_base_is_found_although_the_path_is_never_idle() -> None:
    window = CongestionWindow(PACKET, LIMIT)
    now = run_bottleneck(window, 30, 1e6, others=2000)
    least = window.window
    for _ in range(400):
        now = run_bottleneck(window, 1, 1e6, now)
        least = min(least, window.window)
    assert least < 1e6 * BASE, "the queue was never drained"
    assert window.window < 1e6 * BASE * 1.2


@pytest.mark.parametrize("limit", [1, 1000, 1 << 20])
def test_never_below_the_minimum(limit: int) -> None:
    window = CongestionWindow(PACKET, limit)
    for i in range(50):
        window.on_loss(MANY, i + 0.5, float(i + 1))
        window.on_timeout(float(i + 1))
        assert window.window >= MIN_WINDOW
