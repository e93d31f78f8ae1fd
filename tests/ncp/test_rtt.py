from __future__ import annotations

import pytest

from nconnect.ncp.rtt import GAPS_KEPT, INITIAL_RTO, LONGEST_ACK_HOLD, MAX_RTO, MIN_RTO, RoundTripTime


def test_first_and_second_sample_as_rfc_6298_says() -> None:
    rtt = RoundTripTime()
    assert rtt.rto == INITIAL_RTO
    rtt.sample(0.4)
    assert rtt.smoothed == pytest.approx(0.4)
    assert rtt.rto == pytest.approx(0.4 + 4 * 0.2)
    rtt.sample(0.8)
    assert rtt.smoothed == pytest.approx(0.4 * 7 / 8 + 0.8 / 8)
    assert rtt.variation == pytest.approx(0.2 * 3 / 4 + 0.4 / 4)


def test_an_official_peer_on_the_same_machine_is_not_resent_to() -> None:
    rtt = RoundTripTime()
    for i in range(100):
        rtt.sample(0.001 + 0.05 * (i % 10) / 10)
    assert rtt.rto >= 0.2


def test_a_steady_path_leaves_room_for_one_ack_tick() -> None:
    rtt = RoundTripTime()
    for _ in range(200):
        rtt.sample(0.5)
    assert 0.55 < rtt.rto < 0.6


def test_ack_hold_is_an_official_tick_until_the_peer_proves_quicker() -> None:
    rtt = RoundTripTime()
    assert rtt.ack_hold == LONGEST_ACK_HOLD
    now = 0.0
    for _ in range(100):
        now += 0.05
        rtt.on_ack_packet(now)
    assert rtt.ack_hold == pytest.approx(0.05)
    for _ in range(GAPS_KEPT):
        now += 0.002
        rtt.on_ack_packet(now)
    assert rtt.ack_hold == pytest.approx(0.002)


def test_a_few_acks_that_the_network_delivers_together_do_not_shorten_the_tick() -> None:
    rtt = RoundTripTime()
    now = 0.0
    for i in range(100):
        now += 0.0 if i % 5 == 0 else 0.05
        rtt.on_ack_packet(now)
    assert rtt.ack_hold == pytest.approx(0.05)


def test_bounds() -> None:
    rtt = RoundTripTime()
    rtt.sample(0.0)
    assert rtt.rto == MIN_RTO
    rtt.sample(1000.0)
    assert rtt.rto == MAX_RTO
