"""A peer that answers nothing under traffic is gone; one whose answers take long is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nconnect.errors import ClosedError
from nconnect.ncp import Config, Mode

from .pair import Link, Pair

TIMEOUT = 2.0
CONFIG = Config(mode=Mode.UNORDERED, mtu=128 << 10, answer_timeout=TIMEOUT)
MESSAGE = b"x" * 1000
# What the last answer of a living peer may be later than the last question.
SLACK = 0.1


def cut(pair: Pair, *, down: bool = True) -> None:
    for link in [*pair.links.values()]:
        link.down = down


def says_nothing_came(pair: Pair) -> bool:
    end = pair.dialler.end
    return end is not None and isinstance(end.error, ClosedError) and "no answer" in str(end.error)


def busy(config: Config = CONFIG, *, paths: int = 1, link: Callable[[], Link] = Link, **more: int) -> Pair:
    """A session that has carried something."""
    pair = Pair(
        config, Config(mode=Mode.UNORDERED, mtu=128 << 10), paths=paths, link=link, **more
    ).establish()
    pair.dialler.outbox.append(MESSAGE)
    pair.run_for(1.0)
    return pair


def feed(pair: Pair, seconds: float, *, size: int = 1000, every: float = 0.02) -> None:
    """Write a message every so often, for so long or until the session ends."""
    for _ in range(round(seconds / every)):
        if pair.dialler.connection.closed:
            return
        if len(pair.dialler.outbox) < 2:
            pair.dialler.outbox.append(b"x" * size)
        pair.run_for(every)


def test_a_peer_that_is_gone_is_noticed_two_seconds_after_its_last_answer() -> None:
    pair = busy(paths=4)
    cut(pair)
    gone = pair.now
    feed(pair, 10.0)
    assert says_nothing_came(pair)
    assert TIMEOUT <= pair.now - gone <= TIMEOUT + SLACK


def test_an_idle_session_is_asked_nothing() -> None:
    pair = busy()
    sent = pair.dialler.sent_packets
    cut(pair)
    pair.run_for(50.0)
    assert pair.dialler.sent_packets == sent
    assert not pair.dialler.connection.closed
    pair.dialler.outbox.append(MESSAGE)
    pair.run_for(TIMEOUT + SLACK)
    assert says_nothing_came(pair)


def test_who_is_not_told_so_waits_longer() -> None:
    pair = busy()
    cut(pair)
    pair.acceptor.outbox.append(MESSAGE)
    pair.run_for(60.0)
    assert not pair.acceptor.connection.closed


@pytest.mark.parametrize("seed", range(5))
def test_losses_and_dead_paths_are_no_silence(seed: int) -> None:
    pair = busy(paths=4, link=lambda: Link(loss=0.1, jitter=0.05), seed=seed)
    for index in range(3):
        for link in pair.both_links(f"__{index}__"):
            link.down = True
    feed(pair, 60.0)
    assert not pair.dialler.connection.closed, f"seed {seed}"


@pytest.mark.parametrize("size", [1000, 32 << 10])
@pytest.mark.parametrize("paths", [1, 4])
def test_a_slow_path_with_a_deep_queue_is_not_given_up(paths: int, size: int) -> None:
    """1 Mbit/s, a queue of five seconds, 600 ms there and back, and always more to send than it takes."""
    slow = lambda: Link(delay=0.3, rate=125_000 / paths, queue=5.0)  # noqa: E731
    pair = Pair(CONFIG, Config(mode=Mode.UNORDERED, mtu=128 << 10), paths=paths, link=slow).establish()
    received = 0
    for _ in range(12):
        feed(pair, 10.0, size=size)
        assert not pair.dialler.connection.closed, pair.dialler.end
        assert pair.acceptor.received_bytes > received
        received = pair.acceptor.received_bytes
    cut(pair)
    gone = pair.now
    feed(pair, 30.0, size=size)
    assert says_nothing_came(pair)
    assert pair.now - gone < 10.0


def test_a_path_that_becomes_slow_is_not_given_up() -> None:
    """From 100 Mbit/s to 1, with what was under way at 100."""
    pair = busy(link=lambda: Link(delay=0.05, rate=12_500_000, queue=5.0))
    feed(pair, 5.0, size=64 << 10, every=0.005)
    for link in pair.links.values():
        link.rate = 125_000
    feed(pair, 60.0, size=64 << 10, every=0.005)
    assert not pair.dialler.connection.closed, pair.dialler.end


def test_our_own_lost_connections_are_not_the_peer_s_silence() -> None:
    pair = busy()
    connection = pair.dialler.connection
    connection.set_path_ready("__0__", False, pair.now, lost=True)
    pair.dialler.outbox.append(MESSAGE)
    pair.run_for(30.0)
    assert not connection.closed
    connection.set_path_ready("__0__", True, pair.now)
    pair.run_for(10.0)
    assert not connection.closed
    assert len(pair.acceptor.received) == 2


def test_the_time_in_which_we_stood_still_does_not_count() -> None:
    """Nor does what came meanwhile and is not read yet."""
    pair = busy()
    connection = pair.dialler.connection
    connection.write(MESSAGE, pair.now)
    list(connection.transmit(pair.now))
    cut(pair)
    pair.now += 60.0
    connection.handle_timeout(pair.now)
    assert not connection.closed
    pair.run_for(TIMEOUT + SLACK)
    assert says_nothing_came(pair)
