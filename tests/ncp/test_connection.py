"""The life of a session: handshake, close, linger, abort, and misuse."""

from __future__ import annotations

from typing import Any

import pytest

from nconnect.errors import ClosedError, DialTimeoutError, ProtocolError, UsageError
from nconnect.ncp import Closed, Config, Connection, Established, Mode, Readable, Transmit, Writable
from nconnect.ncp.packet import CLOSE, UNKNOWN, decode, encode_data, encode_handshake

from .pair import Endpoint, Link, Pair

HANDSHAKE = encode_handshake(["__0__"], 4 << 20, 1024)


def connection(**options: Any) -> Connection:
    return Connection(Config(**options), local_ids=["__0__"])


def established(**options: Any) -> Connection:
    """An acceptor whose answer is on its way."""
    accepted = connection(**options)
    accepted.receive(HANDSHAKE, "__0__", "__0__", 0.0)
    list(accepted.transmit(0.0))
    accepted.events()
    return accepted


# Handshake


def test_handshake_goes_to_the_same_sub_clients_and_says_what_we_can_receive() -> None:
    dialler = Connection(Config(mtu=9000, window_size=5000), local_ids=["__1__", "", "__0__"])
    dialler.connect(0.0)
    sent = list(dialler.transmit(0.0))
    assert [(item.local_id, item.remote_id) for item in sent] == [
        ("", ""),
        ("__0__", "__0__"),
        ("__1__", "__1__"),
    ]
    packet = decode(sent[0].data)
    assert (packet.handshake, packet.mtu, packet.window_size) == (True, 9000, 5000)
    assert list(packet.client_ids) == ["", "__0__", "__1__"]


def test_handshake_goes_to_the_ids_that_were_given() -> None:
    dialler = Connection(Config(), local_ids=["a", "b", "c"], remote_ids=["y", "x"])
    dialler.connect(0.0)
    assert [(item.local_id, item.remote_id) for item in dialler.transmit(0.0)] == [
        ("a", "x"),
        ("b", "y"),
        ("c", "x"),
    ]


def test_both_sides_agree() -> None:
    pair = Pair(Config(mtu=9000, window_size=1 << 20), Config(mtu=1024), paths=3, acceptor_paths=2)
    pair.establish()
    expected = Established(send_mtu=1024, send_window=1 << 20, paths=2)
    assert pair.dialler.events == [expected]
    assert pair.acceptor.events == [expected]
    assert pair.dialler.connection.send_mtu == 1024
    for endpoint in (pair.dialler, pair.acceptor):
        assert [(path.local_id, path.remote_id) for path in endpoint.connection.stats.paths] == [
            ("__0__", "__0__"),
            ("__1__", "__1__"),
        ]


def test_paths_are_pairs_by_place_although_the_names_differ() -> None:
    pair = Pair()
    pair.dialler = Endpoint(
        Connection(Config(), local_ids=["__2__", "__3__"], remote_ids=["__0__"]), Mode.STREAM
    )
    pair.acceptor = Endpoint(Connection(Config(), local_ids=["__0__", "__1__", "__2__"]), Mode.STREAM)
    pair.establish()
    pair.dialler.outbox.append(b"hello")
    pair.run(lambda: pair.acceptor.data == b"hello", 1.0)
    assert [(path.local_id, path.remote_id) for path in pair.dialler.connection.stats.paths] == [
        ("__2__", "__0__"),
        ("__3__", "__1__"),
    ]


def test_lost_handshakes_are_sent_again() -> None:
    pair = Pair()
    for link in pair.both_links("__0__"):
        link.down = True
    pair.dialler.connection.connect(pair.now)
    pair.run_for(4.0)
    assert not pair.acceptor.connection.established
    assert 4 <= pair.dialler.sent_packets <= 8
    pair.link(pair.dialler, "__0__").down = False
    pair.run(lambda: pair.acceptor.connection.established, 5.0)
    pair.link(pair.acceptor, "__0__").down = False
    pair.run(lambda: pair.dialler.connection.established, 5.0)


def test_an_official_dialler_asks_once_so_a_lost_answer_is_sent_again() -> None:
    acceptor = established()
    times = []
    while (due := acceptor.next_timeout()) is not None:
        acceptor.handle_timeout(due)
        sent = list(acceptor.transmit(due))
        if not decode(sent[0].data).handshake:
            break
        assert len(sent) == 1
        times.append(due)
    assert times[0] == 0.5
    assert 3 <= len(times) <= 6
    assert times[-1] < 10


def test_the_answer_is_not_repeated_once_the_dialler_talks() -> None:
    acceptor = established()
    acceptor.receive(encode_data(1, b"x"), "__0__", "__0__", 0.1)
    acceptor.read(10, 0.1)
    seen = []
    while (due := acceptor.next_timeout()) is not None:
        acceptor.handle_timeout(due)
        seen += list(acceptor.transmit(due))
    assert seen
    assert not any(decode(item.data).handshake for item in seen)


def test_repeated_handshakes_are_answered_now_and_then_and_change_nothing() -> None:
    acceptor = established()
    other = encode_handshake(["__7__"], 100, 100)
    answers = 0
    for i in range(100):
        now = 1.0 + i / 1000
        acceptor.receive(other, "__0__", "__0__", now)
        answers += len(list(acceptor.transmit(now)))
    assert answers == 1
    assert acceptor.send_mtu == 1024
    assert acceptor.events() == []


def test_the_dialler_does_not_answer_the_answer() -> None:
    pair = Pair(paths=4, link=lambda: Link(duplicate=0.5)).establish()
    pair.run_for(20.0)
    assert pair.dialler.sent_packets == 4


def test_nobody_answers() -> None:
    pair = Pair(Config(dial_timeout=7.0))
    pair.link(pair.dialler, "__0__").down = True
    pair.dialler.connection.connect(pair.now)
    assert pair.run(lambda: pair.dialler.connection.closed, 30.0) == pytest.approx(7.0)
    end = pair.dialler.end
    assert end is not None
    assert isinstance(end.error, DialTimeoutError)
    assert "7 s" in str(end.error)


def test_a_refusal_is_told_apart_from_silence() -> None:
    dialler = connection()
    dialler.connect(0.0)
    dialler.receive(CLOSE, "__0__", "__0__", 0.1)
    (end,) = dialler.events()
    assert isinstance(end, Closed)
    assert end.by_peer
    assert isinstance(end.error, ClosedError)


def test_data_ahead_of_the_handshake_is_left_to_be_sent_again() -> None:
    dialler = connection()
    dialler.connect(0.0)
    dialler.receive(encode_data(1, b"x"), "__0__", "__0__", 0.1)
    assert not dialler.established
    dialler.receive(HANDSHAKE, "__0__", "__0__", 0.2)
    dialler.receive(encode_data(1, b"x"), "__0__", "__0__", 0.3)
    assert dialler.read(10, 0.3) == b"x"


def test_a_handshake_of_zeros_is_refused_and_a_good_one_still_taken() -> None:
    acceptor = connection()
    for broken in (
        encode_handshake(["a"], 0, 1024),
        encode_handshake(["a"], 1024, 0),
        encode_handshake([], 1024, 1024),
    ):
        with pytest.raises(ProtocolError):
            acceptor.receive(broken, "__0__", "__0__", 0.0)
    assert not acceptor.established
    acceptor.receive(HANDSHAKE, "__0__", "__0__", 0.0)
    assert acceptor.established


def test_a_sub_client_that_comes_while_dialling_sends_the_handshake_at_once() -> None:
    dialler = Connection(Config(), local_ids=["__0__", "__1__"])
    for local_id in ("__0__", "__1__"):
        dialler.set_path_ready(local_id, False, 0.0)
    dialler.connect(0.0)
    assert list(dialler.transmit(0.0)) == []
    dialler.set_path_ready("__1__", True, 0.05)
    assert [item.local_id for item in dialler.transmit(0.05)] == ["__1__"]


# Close


def test_close_waits_for_what_was_written_and_both_sides_learn() -> None:
    pair = Pair(paths=2).establish()
    pair.dialler.outbox.append(b"x" * 100_000)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    assert not pair.dialler.connection.closed
    pair.run(lambda: pair.acceptor.connection.closed and pair.dialler.connection.closed, 5.0)
    assert len(pair.acceptor.data) == 100_000
    assert pair.dialler.end == Closed(None, by_peer=False)
    assert pair.acceptor.end == Closed(None, by_peer=True)


def test_what_arrived_before_the_close_stays_readable() -> None:
    pair = Pair().establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"last words")
    pair.drain()
    pair.dialler.connection.close(pair.now)
    pair.run(lambda: pair.acceptor.connection.closed, 5.0)
    assert [type(event) for event in pair.acceptor.events] == [Established, Readable, Closed]
    assert pair.acceptor.connection.read(100, pair.now) == b"last words"
    with pytest.raises(ClosedError):
        pair.acceptor.connection.write(b"x", pair.now)


def test_close_lingers_no_longer_than_told_and_says_what_was_lost() -> None:
    pair = Pair(Config(linger=3.0)).establish()
    pair.link(pair.dialler, "__0__").down = True
    pair.dialler.outbox.append(b"x" * 5000)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    assert pair.run(lambda: pair.dialler.connection.closed, 10.0) == pytest.approx(3.0)
    end = pair.dialler.end
    assert end is not None
    assert "5000 bytes unacknowledged" in str(end.error)


def test_close_waits_for_the_peer_to_read_because_the_sdks_drop_what_is_unread() -> None:
    pair = Pair().establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"x" * 5000)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    pair.run_for(0.4)
    assert pair.dialler.connection.stats.bytes_in_flight == 0
    assert not pair.dialler.connection.closed
    pair.acceptor.reading = True
    assert pair.run(lambda: pair.dialler.connection.closed, 1.0) < 0.3


def test_a_peer_that_does_not_read_delays_the_close_by_the_linger_time() -> None:
    pair = Pair().establish()
    pair.acceptor.reading = False
    pair.dialler.outbox.append(b"x" * 5000)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    assert pair.run(lambda: pair.dialler.connection.closed, 5.0) == pytest.approx(3.0, abs=0.1)
    assert pair.dialler.end == Closed(None, by_peer=False)


def test_close_lingers_as_long_as_the_data_gets_on() -> None:
    pair = Pair(Config(mtu=1024, linger=0.5), link=lambda: Link(rate=100_000)).establish()
    data = b"x" * 300_000
    pair.dialler.outbox.append(data)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    assert pair.run(lambda: pair.dialler.connection.closed, 10.0) > 2.0
    assert pair.dialler.end == Closed(None, by_peer=False)


def test_without_linger_the_close_goes_out_with_the_data() -> None:
    pair = Pair(Config(linger=0.0)).establish()
    pair.dialler.outbox.append(b"x" * 5000)
    pair.drain()
    pair.dialler.connection.close(pair.now)
    assert pair.run(lambda: pair.acceptor.connection.closed, 1.0) < 0.1


def test_a_peer_that_was_started_again_ends_the_session_with_an_error() -> None:
    """It is no end of the stream: what was under way is lost."""
    pair = Pair().establish()
    pair.dialler.connection.receive(UNKNOWN, "__0__", "__0__", pair.now)
    (closed,) = [event for event in pair.dialler.connection.events() if isinstance(event, Closed)]
    assert closed.by_peer
    assert "started again" in str(closed.error)


def test_close_goes_out_on_every_path() -> None:
    pair = Pair(paths=3).establish()
    pair.dialler.connection.close(pair.now)
    sent = list(pair.dialler.connection.transmit(pair.now))
    assert sent == [Transmit(f"__{i}__", f"__{i}__", CLOSE) for i in range(3)]
    assert pair.dialler.connection.next_timeout() is None


def test_a_peer_that_missed_the_close_is_told_when_it_speaks() -> None:
    pair = Pair().establish()
    pair.link(pair.dialler, "__0__").down = True
    pair.dialler.connection.close(pair.now)
    pair.run_for(1.0)
    pair.link(pair.dialler, "__0__").down = False
    assert not pair.acceptor.connection.closed
    pair.acceptor.outbox.append(b"anybody there?")
    pair.run(lambda: pair.acceptor.connection.closed, 1.0)


def test_two_closed_sides_do_not_answer_each_other() -> None:
    pair = Pair(link=lambda: Link(duplicate=0.5)).establish()
    pair.dialler.connection.close(pair.now)
    pair.acceptor.connection.close(pair.now)
    pair.run_for(30.0)
    assert pair.dialler.sent_packets + pair.acceptor.sent_packets < 12


def test_abort_drops_everything_and_tells_the_peer() -> None:
    pair = Pair().establish()
    pair.dialler.reading = False
    pair.acceptor.outbox.append(b"unread")
    pair.dialler.outbox.append(b"x" * 100_000)
    pair.run_for(0.05)
    pair.dialler.connection.abort(pair.now)
    assert pair.dialler.connection.closed
    assert pair.dialler.connection.read(100, pair.now) == b""
    pair.run(lambda: pair.acceptor.connection.closed, 1.0)
    end = pair.dialler.end
    assert end is not None
    assert isinstance(end.error, ClosedError)
    assert pair.dialler.connection.stats.bytes_in_flight == 0


def test_giving_up_a_dial_tells_an_acceptor_that_is_there() -> None:
    pair = Pair()
    pair.link(pair.acceptor, "__0__").down = True
    pair.dialler.connection.connect(pair.now)
    pair.run(lambda: pair.acceptor.connection.established, 1.0)
    pair.dialler.connection.close(pair.now)
    pair.run(lambda: pair.acceptor.connection.closed, 1.0)
    assert pair.dialler.end == Closed(None, by_peer=False)


def test_a_silent_peer_is_given_up() -> None:
    pair = Pair(Config(dead_timeout=20.0)).establish()
    pair.run_for(1000.0)
    assert not pair.dialler.connection.closed, "an idle session is not a dead one"
    assert not pair.acceptor.connection.closed
    for link in pair.both_links("__0__"):
        link.down = True
    pair.dialler.outbox.append(b"x")
    assert pair.run(lambda: pair.dialler.connection.closed, 60.0) == pytest.approx(20.0)
    end = pair.dialler.end
    assert end is not None
    assert "silent for 20 s" in str(end.error)


def test_never_give_up_when_told_so() -> None:
    pair = Pair(Config(dead_timeout=0.0)).establish()
    for link in pair.both_links("__0__"):
        link.down = True
    pair.dialler.outbox.append(b"x")
    pair.run_for(3600.0)
    for link in pair.both_links("__0__"):
        link.down = False
    pair.run(lambda: pair.acceptor.data == b"x", 11.0)


# Application


def test_events_of_reading_and_writing() -> None:
    pair = Pair(Config(send_buffer=4000)).establish()
    pair.acceptor.reading = False
    dialler, acceptor = pair.dialler.connection, pair.acceptor.connection
    assert dialler.write(b"x" * 10_000, pair.now) == 4000
    assert dialler.write(b"x", pair.now) == 0
    pair.run_for(0.05)
    assert pair.dialler.events[1:] == [Writable()]
    assert pair.acceptor.events[1:] == [Readable()]
    assert len(acceptor.read(10_000, pair.now)) == 4000
    assert acceptor.read(10_000, pair.now) == b""
    assert dialler.write(b"y", pair.now) == 1
    pair.run_for(0.05)
    assert pair.acceptor.events[1:] == [Readable(), Readable()]


def test_a_write_before_the_session_is_established_is_refused_and_told() -> None:
    pair = Pair()
    assert pair.dialler.connection.write(b"early", pair.now) == 0
    pair.establish()
    assert [type(event) for event in pair.dialler.events] == [Established, Writable]


@pytest.mark.parametrize("mode", [Mode.MESSAGE, Mode.UNORDERED])
def test_messages_that_cannot_be(mode: Mode) -> None:
    session = established(mode=mode)
    for message in (b"", b"x" * 1025):
        with pytest.raises(UsageError, match="1 to 1024 bytes"):
            session.write(message, 0.0)
    with pytest.raises(UsageError, match="receive_message"):
        session.read(1, 0.0)


def test_misuse_is_told() -> None:
    with pytest.raises(UsageError, match="one or more"):
        Connection(Config(), local_ids=[])
    with pytest.raises(UsageError, match="named once"):
        Connection(Config(), local_ids=["a", "a"])
    with pytest.raises(UsageError):
        Connection(Config(), local_ids=["a"], remote_ids=[])
    session = established()
    with pytest.raises(UsageError, match="before"):
        session.connect(0.0)
    with pytest.raises(UsageError, match=r"use read\(\)"):
        session.receive_message(0.0)
    with pytest.raises(UsageError, match="'nobody'"):
        session.set_path_ready("nobody", True, 0.0)
    session.close(0.0)
    session.close(0.0)
    session.abort(0.0)
    assert session.events() == [Closed(None, by_peer=False)]
    with pytest.raises(ClosedError):
        session.write(b"x", 0.0)


def test_a_view_of_other_items_is_written_as_bytes() -> None:
    session = established()
    assert session.write(memoryview(b"abcdefgh").cast("I"), 0.0) == 8


def test_acks_ride_with_data() -> None:
    session = established()
    session.receive(encode_data(1, b"question"), "__0__", "__0__", 1.0)
    session.read(100, 1.0)
    session.write(b"answer", 1.0)
    (item,) = session.transmit(1.0)
    packet = decode(item.data)
    assert (packet.data, list(packet.ack_start_seq), packet.bytes_read) == (b"answer", [1], 8)


def test_a_path_that_fills_up_between_two_items_gets_nothing_more() -> None:
    session = Connection(Config(mode=Mode.MESSAGE), local_ids=["__0__", "__1__"])
    session.receive(encode_handshake(["__0__", "__1__"], 4 << 20, 1024), "__0__", "__0__", 0.0)
    list(session.transmit(0.0))
    for _ in range(10):
        session.write(b"x" * 1000, 0.0)
    sent = []
    for item in session.transmit(0.0):
        sent.append(item.local_id)
        if len(sent) == 3:
            session.set_path_ready("__0__", False, 0.0)
    assert sent == ["__0__"] * 3 + ["__1__"] * 7


def test_what_was_not_taken_from_transmit_comes_next_time() -> None:
    session = established(mode=Mode.MESSAGE)
    for i in range(3):
        session.write(b"%d" % i, 0.0)
    first = next(iter(session.transmit(0.0)))
    rest = list(session.transmit(0.0))
    assert [decode(item.data).data for item in [first, *rest]] == [b"0", b"1", b"2"]
