"""Relays with a rate: what they can carry is carried, no queue is built there, and no path is left out."""

from __future__ import annotations

import pytest

from nconnect.ncp import Config, Mode

from .pair import Link, Pair
from .relays import MBIT, OVERLAY, Traffic, measure, relayed, rivals, run_together

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shared", [True, False], ids=["one bottleneck", "four"])
def test_a_small_message_overtakes_a_bulk_transfer_that_fills_the_link(shared: bool, seed: int) -> None:
    rates = [50 * MBIT] if shared else [12.5 * MBIT] * 4
    pair = relayed(rates, shared=shared, seed=seed)
    idle = measure(pair, 1.0, bulk=False).percentile(0.5)
    measure(pair, 1.0)
    busy = measure(pair, 2.0)
    assert busy.rate > 0.9 * 50 * MBIT, f"seed {seed}"
    assert busy.percentile(0.95) < idle + 0.023, f"seed {seed}"
    stats = pair.dialler.connection.stats
    assert stats.spurious_retransmissions == 0
    assert stats.retransmissions <= stats.packets_sent / 100


@pytest.mark.parametrize("seed", SEEDS)
def test_one_percent_loss_costs_little(seed: int) -> None:
    pair = relayed([50 * MBIT], shared=True, seed=seed, loss=0.01)
    measure(pair, 1.0)
    busy = measure(pair, 3.0)
    assert busy.rate > 0.9 * 50 * MBIT, f"seed {seed}"
    stats = pair.dialler.connection.stats
    assert stats.retransmissions < stats.packets_sent * 0.03, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_relay_gets_what_it_can_carry(seed: int) -> None:
    rates = [40 * MBIT, 40 * MBIT, 4 * MBIT, 40 * MBIT]
    pair = relayed(rates, seed=seed)
    idle = measure(pair, 1.0, bulk=False).percentile(0.5)
    measure(pair, 1.0)
    busy = measure(pair, 2.0)
    assert busy.rate > 0.9 * sum(rates), f"seed {seed}"
    assert busy.percentile(0.5) < idle + 0.02, f"seed {seed}"
    assert busy.percentile(0.95) < idle + 0.07, f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [12.5 * MBIT, 40 * MBIT])
def test_where_acks_wait_behind_data_relays_are_still_filled(rate: float, seed: int) -> None:
    rates = [rate, rate, rate / 10, rate]
    pair = relayed(rates, seed=seed, same_relay=True)
    idle = measure(pair, 1.0, bulk=False).percentile(0.5)
    measure(pair, 1.0)
    busy = measure(pair, 2.0)
    assert busy.rate > 0.8 * sum(rates), f"seed {seed}"
    assert busy.percentile(0.5) < idle + 0.015, f"seed {seed}"


@pytest.mark.parametrize("head_start", [0.0, 3.0])
def test_two_sessions_share_a_relay_whoever_came_first(head_start: float) -> None:
    seed, seconds, rate = 7, 6.0, 20 * MBIT
    pairs = rivals(rate, seed=seed)
    first, second = (pair.dialler for pair in pairs)
    start = max(pair.now for pair in pairs) + head_start
    first.outbox = Traffic(first)
    run_together(pairs, start)
    second.outbox = Traffic(second)
    before = [pair.acceptor.received_bytes for pair in pairs]
    run_together(pairs, start + seconds)
    rates = [(pair.acceptor.received_bytes - was) / seconds for pair, was in zip(pairs, before, strict=True)]
    assert min(rates) > 0.4 * rate, f"seed {seed}: {rates}"
    assert sum(rates) > 0.9 * rate, f"seed {seed}: {rates}"


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_a_relay_whose_rate_changes_is_followed(factor: float) -> None:
    pair = relayed([50 * MBIT], shared=True)
    measure(pair, 2.0)
    rate = 50 * MBIT * factor
    for link in pair.links.values():
        for station in link.stations:  # type: ignore[attr-defined]
            station.rate = rate
    measure(pair, 2.0)
    busy = measure(pair, 2.0)
    assert busy.rate > 0.85 * rate
    assert busy.percentile(0.5) < 0.07


def test_a_message_takes_a_few_milliseconds_of_its_path() -> None:
    pair = relayed([40 * MBIT] * 4)
    measure(pair, 2.0)
    assert 0.0025 * 40 * MBIT < pair.dialler.connection.message_size_hint < 0.0035 * 40 * MBIT


def test_a_message_fills_the_mtu_where_nothing_is_slow() -> None:
    pair = Pair(OVERLAY, paths=4, link=lambda: Link(delay=0.0005)).establish()
    measure(pair, 0.1)
    assert pair.dialler.connection.message_size_hint == OVERLAY.mtu


def test_messages_wait_with_the_application_where_the_link_is_slow() -> None:
    pair = relayed([12.5 * MBIT] * 4)
    measure(pair, 2.0)
    connection = pair.dialler.connection
    message = bytes(8000)
    while connection.write(message, pair.now):
        pair.transmit(pair.dialler)
    assert connection.stats.bytes_queued < 0.01 * 50 * MBIT
    assert connection.write(message, pair.now) == 0


def test_a_lost_tail_is_sent_again_after_little_more_than_a_round_trip() -> None:
    for seed in range(20):
        pair = Pair(Config(mode=Mode.MESSAGE), seed=seed, paths=2).establish()
        for i in range(20):
            pair.dialler.outbox.append(b"x")
            pair.deliver(pair.acceptor, i + 1, 1.0)
            pair.run_for(0.1)
        for i in range(2):
            pair.link(pair.dialler, f"__{i}__").loss = 1.0
        pair.dialler.outbox.append(b"y")
        pair.drain()
        for i in range(2):
            pair.link(pair.dialler, f"__{i}__").loss = 0.0
        assert pair.deliver(pair.acceptor, 21, 1.0) < 0.15, f"seed {seed}"
        window = min(path.window for path in pair.dialler.connection.stats.paths)
        pair.run_for(1.0)
        assert min(path.window for path in pair.dialler.connection.stats.paths) >= min(window, 16 << 10)


def test_an_ack_that_is_late_costs_one_copy_and_no_more() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE), paths=2).establish()
    for _ in range(20):
        pair.dialler.outbox.append(b"x")
        pair.run_for(0.1)
    before = pair.dialler.connection.stats.retransmissions
    for i in range(2):
        pair.link(pair.acceptor, f"__{i}__").delay = 0.12
    pair.dialler.outbox.extend([b"x"] * 10)
    pair.run_for(0.18)
    assert pair.dialler.connection.stats.retransmissions - before <= 2
