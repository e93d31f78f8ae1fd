"""Networks that lose, delay, reorder, duplicate and die: every byte once, in order where promised."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from nconnect.ncp import Config, Mode
from nconnect.ncp.sequence import MAX_SEQUENCE

from .pair import Endpoint, Link, Pair

SEEDS = range(100)


def random_pair(seed: int, mode: Mode) -> Pair:
    """A pair of different configurations over a few different links."""
    rng = random.Random(seed)

    def link() -> Link:
        return Link(
            delay=rng.choice([0.0, 0.001, 0.02, 0.15]),
            jitter=rng.choice([0.0, 0.005, 0.05]),
            loss=rng.choice([0.0, 0.01, 0.1]),
            duplicate=rng.choice([0.0, 0.02, 0.2]),
            rate=rng.choice([0.0, 0.0, 300e3, 5e6]),
        )

    def config(mode: Mode) -> Config:
        return Config(
            mode=mode,
            mtu=rng.choice([300, 1024, 16384]),
            window_size=rng.choice([5000, 100_000, 4 << 20]),
            send_buffer=rng.choice([1000, 1 << 20]),
            first_sequence=first,
        )

    first = rng.choice([1, 1, MAX_SEQUENCE - 10])
    # Stream and message mode differ at one end only: an official peer may be set either way.
    return Pair(
        config(mode),
        config(Mode.MESSAGE if mode is Mode.STREAM and rng.random() < 0.3 else mode),
        seed=seed,
        paths=rng.randint(1, 4),
        acceptor_paths=rng.randint(1, 4),
        link=link,
    )


def fill(endpoint: Endpoint, rng: random.Random, longest: int) -> list[bytes]:
    count = rng.randint(1, 150)
    messages = [rng.randbytes(rng.randint(1, longest)) for _ in range(count)]
    endpoint.outbox.extend(messages)
    return messages


def check(receiver: Endpoint, sent: list[bytes], seed: int) -> None:
    if receiver.mode is Mode.UNORDERED:
        assert Counter(receiver.received) == Counter(sent), f"seed {seed}"
    else:
        assert receiver.data == b"".join(sent), f"seed {seed}"


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("seed", SEEDS)
def test_every_byte_arrives_once_both_ways(seed: int, mode: Mode) -> None:
    pair = random_pair(seed, mode).establish(within=60.0)
    rng = random.Random(-seed)
    mtu = min(pair.dialler.connection.send_mtu, pair.acceptor.connection.send_mtu)
    sent = {
        "dialler": fill(pair.dialler, rng, mtu),
        "acceptor": fill(pair.acceptor, rng, mtu),
    }
    total = {name: sum(map(len, messages)) for name, messages in sent.items()}
    pair.run(
        lambda: (
            pair.acceptor.received_bytes >= total["dialler"]
            and pair.dialler.received_bytes >= total["acceptor"]
        ),
        within=120.0,
    )
    check(pair.acceptor, sent["dialler"], seed)
    check(pair.dialler, sent["acceptor"], seed)
    if pair.dialler.mode is Mode.MESSAGE is pair.acceptor.mode:
        assert pair.acceptor.received == sent["dialler"], f"seed {seed}"
    assert pair.dialler.errors == pair.acceptor.errors == []
    pair.dialler.connection.close(pair.now)
    pair.run(lambda: pair.dialler.connection.closed, within=2.0)


def bulk(pair: Pair, size: int, within: float) -> float:
    """Seconds that `size` bytes take from dialler to acceptor."""
    block = bytes(pair.dialler.connection.send_mtu)
    count = -(-size // len(block))
    pair.dialler.outbox.extend([block] * count)
    return pair.deliver(pair.acceptor, pair.acceptor.received_bytes + count * len(block), within)


OVERLAY = Config(mode=Mode.UNORDERED, mtu=64 << 10, window_size=16 << 20)


def test_a_gigabit_through_one_path() -> None:
    pair = Pair(OVERLAY, link=lambda: Link(delay=0.02, rate=125e6)).establish()
    seconds = bulk(pair, 128 << 20, within=10.0)
    assert (128 << 20) / seconds > 100e6
    assert pair.dialler.connection.stats.retransmissions == 0


def test_four_paths_add_up() -> None:
    pair = Pair(OVERLAY, paths=4, link=lambda: Link(delay=0.02, rate=12.5e6)).establish()
    seconds = bulk(pair, 64 << 20, within=10.0)
    assert (64 << 20) / seconds > 40e6


def test_a_slow_path_does_not_slow_down_the_fast_one() -> None:
    links = iter(
        [Link(delay=0.01, rate=25e6), Link(delay=0.01), Link(delay=0.3, rate=0.5e6), Link(delay=0.3)]
    )
    pair = Pair(OVERLAY, paths=2)
    pair.links = {(sender, name): next(links) for name in ("__0__", "__1__") for sender in (True, False)}
    pair.establish()
    assert (32 << 20) / bulk(pair, 32 << 20, within=10.0) > 20e6


def test_no_seconds_of_queue_at_a_slow_relay() -> None:
    pair = Pair(OVERLAY, link=lambda: Link(delay=0.02, rate=1.25e6, queue=30.0)).establish()
    bulk(pair, 2 << 20, within=10.0)
    link = pair.link(pair.dialler, "__0__")
    queues = []
    pair.on_send = lambda endpoint, item: queues.append(link.busy_until - pair.now)
    bulk(pair, 10 << 20, within=20.0)
    assert max(queues) < 0.4


@pytest.mark.parametrize("paths", [1, 4])
@pytest.mark.parametrize("mtu", [1024, 64 << 10])
def test_one_percent_loss_costs_no_stall(mtu: int, paths: int) -> None:
    worst = []
    for seed in range(10):
        config = Config(mode=Mode.MESSAGE, mtu=mtu, window_size=16 << 20)
        pair = Pair(config, seed=seed, paths=paths, link=lambda: Link(delay=0.02, loss=0.01)).establish()
        seconds = bulk(pair, 1000 * mtu, within=20.0)
        arrivals = pair.acceptor.received_at
        worst.append(max(later - earlier for earlier, later in itertools.pairwise(arrivals)))
        assert seconds < 4.0, f"seed {seed}"
        stats = pair.dialler.connection.stats
        assert stats.retransmissions < 150, f"seed {seed}: {stats.retransmissions} packets resent of 1000"
    assert sorted(worst)[len(worst) // 2] < 0.5
    assert max(worst) < 1.5


def test_requests_over_a_lossy_network_are_answered_within_a_second() -> None:
    for seed in range(5):
        pair = Pair(
            Config(mode=Mode.MESSAGE), seed=seed, paths=4, link=lambda: Link(delay=0.02, loss=0.01)
        ).establish()
        took = []
        for i in range(200):
            pair.dialler.outbox.append(b"question")
            pair.deliver(pair.acceptor, (i + 1) * len(b"question"), 5.0)
            pair.acceptor.outbox.append(b"answer")
            start = pair.acceptor.received_at[-1]
            pair.deliver(pair.dialler, (i + 1) * len(b"answer"), 5.0)
            took.append(pair.now - start)
            pair.run_for(0.02)
        took.sort()
        assert took[len(took) // 2] < 0.021
        assert took[-1] < 1.0, f"seed {seed}"


def test_reordering_is_not_taken_for_loss_for_long() -> None:
    for seed in range(5):
        pair = Pair(Config(), seed=seed, link=lambda: Link(delay=0.02, jitter=0.03)).establish()
        bulk(pair, 2 << 20, within=20.0)
        assert pair.dialler.connection.stats.retransmissions < 100, f"seed {seed}"


@pytest.mark.parametrize("mode", list(Mode))
def test_a_path_that_dies_in_the_middle(mode: Mode) -> None:
    for seed in range(8):
        config = Config(mode=mode, mtu=16 << 10, window_size=16 << 20)
        pair = Pair(config, seed=seed, paths=3, link=lambda: Link(delay=0.03, rate=5e6)).establish()
        rng = random.Random(seed)
        sent = [rng.randbytes(16 << 10) for _ in range(600)]
        pair.dialler.outbox.extend(sent)
        pair.deliver(pair.acceptor, 2 << 20, 10.0)
        for link in pair.both_links(f"__{seed % 3}__"):
            link.down = True
        died = pair.now
        pair.deliver(pair.acceptor, 600 * (16 << 10), 10.0)
        check(pair.acceptor, sent, seed)
        arrivals = [when for when in pair.acceptor.received_at if when >= died - 1]
        stall = max(later - earlier for earlier, later in itertools.pairwise(arrivals))
        assert stall < 1.2, f"seed {seed}: nothing arrived for {stall} s"


def test_a_path_that_comes_back_is_used_again() -> None:
    pair = Pair(OVERLAY, paths=2, link=lambda: Link(delay=0.02, rate=5e6)).establish()
    bulk(pair, 4 << 20, within=10.0)
    for link in pair.both_links("__0__"):
        link.down = True
    bulk(pair, 10 << 20, within=10.0)
    suspects = [path.suspect for path in pair.dialler.connection.stats.paths]
    assert suspects == [True, False]
    for link in pair.both_links("__0__"):
        link.down = False
    bulk(pair, 100 << 20, within=30.0)
    before, _ = (path.bytes_sent for path in pair.dialler.connection.stats.paths)
    bulk(pair, 10 << 20, within=10.0)
    after, _ = (path.bytes_sent for path in pair.dialler.connection.stats.paths)
    assert after - before > 2 << 20


def test_what_was_on_a_lost_connection_is_resent_elsewhere_at_once() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE), paths=2).establish()
    for link in pair.both_links("__0__"):
        link.down = True
    pair.dialler.outbox.extend([b"x" * 1000] * 5)
    pair.drain()
    used = [path.local_id for path in pair.dialler.connection.stats.paths if path.in_flight]
    assert used == ["__0__"]
    pair.dialler.connection.set_path_ready("__0__", False, pair.now, lost=True)
    assert pair.run(lambda: len(pair.acceptor.received) == 5, 1.0) < 0.025


def test_a_congested_path_is_not_resent_from() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE), paths=2).establish()
    pair.dialler.outbox.extend([b"x" * 1000] * 5)
    pair.drain()
    pair.dialler.connection.set_path_ready("__0__", False, pair.now)
    pair.run(lambda: len(pair.acceptor.received) == 5, 1.0)
    pair.dialler.outbox.append(b"y")
    pair.run(lambda: len(pair.acceptor.received) == 6, 1.0)
    assert pair.dialler.connection.stats.retransmissions == 0


def test_acks_take_another_path_when_theirs_is_gone() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE), paths=2).establish()
    pair.acceptor.connection.set_path_ready("__0__", False, pair.now)
    pair.dialler.outbox.append(b"x")
    pair.run(lambda: pair.dialler.connection.stats.bytes_in_flight == 0, 1.0)
    pair.run_for(1.0)
    assert pair.dialler.connection.stats.retransmissions == 0


def test_no_path_at_all_for_a_while() -> None:
    pair = Pair(Config(), paths=2).establish()
    for local_id in ("__0__", "__1__"):
        pair.dialler.connection.set_path_ready(local_id, False, pair.now, lost=True)
    pair.dialler.outbox.append(b"x" * 10_000)
    pair.run_for(60.0)
    assert pair.acceptor.data == b""
    pair.dialler.connection.set_path_ready("__1__", True, pair.now)
    assert pair.run(lambda: len(pair.acceptor.data) == 10_000, 1.0) < 0.1


@pytest.mark.parametrize("mode", list(Mode))
def test_a_reader_that_pauses_stops_the_writer_and_starts_it_again(mode: Mode) -> None:
    for seed in range(10):
        config = Config(mode=mode, window_size=50_000)
        pair = Pair(config, seed=seed, link=lambda: Link(delay=0.02, loss=0.2)).establish()
        pair.acceptor.reading = False
        pair.dialler.outbox.extend([b"x" * 1000] * 300)
        pair.run_for(20.0)
        assert pair.acceptor.connection.stats.bytes_received <= 50_000
        pair.acceptor.reading = True
        pair.deliver(pair.acceptor, 300_000, 60.0)
        assert pair.acceptor.connection.stats.refused == 0


def test_the_window_opens_although_the_word_of_it_is_lost() -> None:
    pair = Pair(Config(window_size=20_000)).establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"x" * 40_000)
    pair.run_for(10.0)
    pair.acceptor.reading = True
    pair.link(pair.acceptor, "__0__").down = True
    pair.run_for(30.0)
    pair.link(pair.acceptor, "__0__").down = False
    pair.run(lambda: pair.acceptor.received_bytes == 40_000, 10.0)


def test_sequence_numbers_wrap_in_the_middle_of_a_transfer() -> None:
    for mode in Mode:
        config = Config(mode=mode, first_sequence=MAX_SEQUENCE - 300)
        pair = Pair(config, seed=1, paths=3, link=lambda: Link(loss=0.05, jitter=0.02)).establish()
        rng = random.Random(1)
        sent = [rng.randbytes(1000) for _ in range(1000)]
        pair.dialler.outbox.extend(sent)
        pair.deliver(pair.acceptor, 1_000_000, 20.0)
        check(pair.acceptor, sent, 1)


def test_small_messages_share_ack_packets() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE)).establish()
    before = pair.acceptor.sent_packets
    for _ in range(1000):
        pair.dialler.outbox.append(b"x")
        pair.run_for(0.0002)
    pair.run_for(0.5)
    assert len(pair.acceptor.received) == 1000
    assert pair.acceptor.sent_packets - before < 40


def test_an_idle_session_sends_a_question_a_minute_and_the_answer() -> None:
    pair = Pair(OVERLAY, paths=4).establish()
    bulk(pair, 32 << 20, within=10.0)
    pair.run_for(20.0)
    before = pair.dialler.sent_packets + pair.acceptor.sent_packets
    pair.run_for(3600.0)
    assert pair.dialler.sent_packets + pair.acceptor.sent_packets - before == 2 * 60


def test_a_reader_that_catches_up_opens_the_window_at_once() -> None:
    pair = Pair(Config(window_size=50_000)).establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"x" * 100_000)
    pair.run_for(5.0)
    pair.acceptor.reading = True
    assert pair.deliver(pair.acceptor, 60_000, 1.0) < 0.06


def test_a_round_trip_longer_than_the_first_timeout_is_learnt() -> None:
    pair = Pair(Config(mode=Mode.MESSAGE), link=lambda: Link(delay=0.75)).establish()
    for _ in range(50):
        pair.dialler.outbox.append(b"x")
        pair.run_for(0.5)
    pair.run_for(5.0)
    stats = pair.dialler.connection.stats
    assert stats.paths[0].srtt == pytest.approx(1.51, abs=0.02), "an ACK of a resent packet was measured"
    assert stats.retransmissions <= 5


def test_a_round_trip_that_jumps_is_learnt_without_a_storm() -> None:
    for paths in (1, 2):
        pair = Pair(Config(mode=Mode.MESSAGE), paths=paths).establish()
        for delay in (0.02, 0.5, 1.0):
            for i in range(paths):
                for link in pair.both_links(f"__{i}__"):
                    link.delay = delay
            for _ in range(200):
                pair.dialler.outbox.append(b"x" * 1000)
                pair.run_for(0.1)
        pair.run_for(5.0)
        stats = pair.dialler.connection.stats
        assert pair.acceptor.received_bytes == 600_000
        assert stats.retransmissions < 80, f"{paths} paths: {stats.retransmissions} of 600 resent"
        assert max(path.srtt or 0 for path in stats.paths) > 1.9
