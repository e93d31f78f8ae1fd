"""Idle sessions: as long as the peer is there they live, and no longer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nconnect.errors import ClosedError
from nconnect.ncp import Config, Connection, Mode, Transmit
from nconnect.ncp.keepalive import ASK_INTERVAL
from nconnect.ncp.packet import CLOSE, ack_ranges, decode, encode_acks, encode_handshake
from nconnect.ncp.sequence import MAX_SEQUENCE

from .pair import Endpoint, Link, Pair

CONFIG = Config(keep_alive=60.0, dead_timeout=120.0)
PAIR = ("__0__", "__0__")


def cut(pair: Pair, down: bool = True) -> None:
    for name in ("__0__", "__1__"):
        for link in pair.both_links(name):
            link.down = down


def says_it_was_silent(endpoint: Endpoint) -> bool:
    return endpoint.end is not None and "silent for 120 s" in str(endpoint.end.error)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("written", [b"", b"hello"])
def test_a_peer_that_is_there_is_kept(mode: Mode, written: bytes) -> None:
    pair = Pair(replace(CONFIG, mode=mode), seed=3, paths=2, link=lambda: Link(loss=0.3)).establish()
    if written:
        pair.dialler.outbox.append(written)
    pair.run_for(24 * 3600.0)
    assert pair.dialler.connection.established and pair.acceptor.connection.established
    assert pair.acceptor.data == written, "a question is no data"
    pair.acceptor.outbox.append(b"still here")
    pair.run(lambda: pair.dialler.data == b"still here", 30.0)


def test_a_peer_that_is_gone_is_forgotten_at_both_ends() -> None:
    pair = Pair(CONFIG, paths=2).establish()
    pair.run_for(1000.0)
    cut(pair)
    pair.run_for(CONFIG.keep_alive + CONFIG.dead_timeout + 1)
    assert says_it_was_silent(pair.dialler) and says_it_was_silent(pair.acceptor)


def test_a_peer_that_comes_back_in_time_is_kept() -> None:
    pair = Pair(CONFIG, paths=2).establish()
    cut(pair)
    pair.run_for(CONFIG.keep_alive + CONFIG.dead_timeout - ASK_INTERVAL - 1)
    cut(pair, down=False)
    pair.run_for(3600.0)
    assert pair.dialler.connection.established and pair.acceptor.connection.established


def test_who_is_told_not_to_ask_waits_for_ever() -> None:
    for config in (replace(CONFIG, keep_alive=0.0), replace(CONFIG, dead_timeout=0.0)):
        pair = Pair(config).establish()
        cut(pair)
        pair.run_for(24 * 3600.0)
        assert pair.dialler.connection.established


def test_a_path_that_is_dead_does_not_end_the_session() -> None:
    pair = Pair(CONFIG, paths=2).establish()
    for link in pair.both_links("__0__"):
        link.down = True
    pair.run_for(3600.0)
    assert pair.dialler.connection.established and pair.acceptor.connection.established


def test_our_own_lost_connections_are_not_the_peers_fault() -> None:
    pair = Pair(CONFIG).establish()
    connection = pair.dialler.connection
    cut(pair)
    pair.run_for(CONFIG.keep_alive + 1)
    connection.set_path_ready("__0__", False, pair.now, lost=True)
    pair.run_for(3600.0)
    assert not connection.closed
    connection.set_path_ready("__0__", True, pair.now)
    pair.run_for(CONFIG.dead_timeout - 2)
    assert not connection.closed
    pair.run_for(5.0)
    assert says_it_was_silent(pair.dialler)


def test_a_peer_that_read_nothing_and_is_gone_is_forgotten() -> None:
    """All is acknowledged, so nothing is outstanding: only questions can tell."""
    pair = Pair(replace(CONFIG, window_size=1000)).establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"x" * 5000)
    pair.run_for(100.0)
    assert pair.dialler.connection.stats.bytes_sent == 1000
    cut(pair)
    pair.run_for(CONFIG.keep_alive + CONFIG.dead_timeout + 10)
    assert says_it_was_silent(pair.dialler)


def accepted(config: Config = CONFIG) -> Connection:
    """An acceptor whose peer has sent its handshake and nothing more."""
    connection = Connection(config, local_ids=["__0__"])
    connection.receive(encode_handshake(["__0__"], 1 << 20, 1024), *PAIR, 0.0)
    return connection


def run(connection: Connection, until: float) -> list[tuple[float, Transmit]]:
    """What it sends, and when, as long as nobody says anything."""
    sent = [(0.0, item) for item in connection.transmit(0.0)]
    while (due := connection.next_timeout()) is not None and due <= until:
        connection.handle_timeout(due)
        sent += [(due, item) for item in connection.transmit(due)]
    return sent


def test_a_handshake_and_nothing_more_holds_a_session_for_three_minutes() -> None:
    connection = accepted()
    sent = run(connection, 1000.0)
    when, last = sent[-1]
    assert when == CONFIG.keep_alive + CONFIG.dead_timeout
    assert last.data == CLOSE
    assert connection.closed
    (closed,) = [event for event in connection.events() if hasattr(event, "error")]
    assert isinstance(closed.error, ClosedError)
    questions = [when for when, item in sent if decode(item.data).sequence_id]
    assert questions[:3] == [60.0, 70.0, 80.0]
    assert len(questions) == CONFIG.dead_timeout / ASK_INTERVAL


def test_the_question_is_a_number_that_every_sdk_has_seen() -> None:
    """ncp-go and @nkn/ncp acknowledge whatever lies before their window."""
    connection = accepted()
    packet = decode(run(connection, CONFIG.keep_alive)[-1][1].data)
    assert (packet.sequence_id, packet.data) == (MAX_SEQUENCE, b"")
    now = CONFIG.keep_alive + 1
    assert connection.write(b"x", now)
    assert [decode(item.data).sequence_id for item in connection.transmit(now)] == [1]
    connection.receive(encode_acks([(1, 1)], 1), *PAIR, now)
    while (due := connection.next_timeout()) is not None and due < now + CONFIG.keep_alive:
        connection.handle_timeout(due)
    connection.handle_timeout(now + CONFIG.keep_alive)
    packet = decode(list(connection.transmit(now + CONFIG.keep_alive))[-1].data)
    assert (packet.sequence_id, packet.data) == (1, b"")


def test_our_answer_is_an_ack_of_just_that() -> None:
    connection = accepted()
    list(connection.transmit(0.0))
    connection.receive(b"\x08\xff\xff\xff\xff\x0f\x12\x00", *PAIR, 1.0)
    due = connection.next_timeout()
    assert due is not None
    connection.handle_timeout(due)
    (answer,) = connection.transmit(due)
    assert ack_ranges(decode(answer.data)) == [(MAX_SEQUENCE, 1)]
    assert connection.read(10, due) == b""
