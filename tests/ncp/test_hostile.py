"""A peer that breaks the protocol: no other error, no growth, no time, no harm to the session."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from nconnect.errors import DecodeError, ProtocolError
from nconnect.ncp import Config, Connection, Mode
from nconnect.ncp.congestion import MIN_WINDOW
from nconnect.ncp.packet import (
    CLOSE,
    MAX_OVERHEAD,
    MAX_RANGES_TAKEN,
    decode,
    encode_acks,
    encode_data,
    encode_handshake,
)
from nconnect.ncp.packet_pb2 import Packet
from nconnect.ncp.rtt import MAX_RTO
from nconnect.ncp.sequence import MAX_SEQUENCE

PAIR = ("__0__", "__0__")
MTU = 1024
WINDOW = 1 << 20


def established(window: int = WINDOW, mtu: int = MTU, mode: Mode = Mode.MESSAGE) -> Connection:
    connection = Connection(Config(mode=mode, mtu=MTU, window_size=WINDOW), local_ids=["__0__", "__1__"])
    connection.receive(encode_handshake(["__0__", "__1__"], window, mtu), *PAIR, 0.0)
    connection.receive(encode_acks([], 0), *PAIR, 0.0)
    list(connection.transmit(0.0))
    connection.events()
    return connection


def data_sent(connection: Connection, now: float) -> list[Packet]:
    packets = (decode(item.data) for item in connection.transmit(now))
    return [packet for packet in packets if packet.sequence_id]


def still_works(connection: Connection, now: float) -> None:
    """A message both ways."""
    connection.receive(encode_data(1, b"still here"), *PAIR, now)
    assert connection.receive_message(now) == b"still here"
    assert connection.write(b"so am I", now)
    assert b"so am I" in [packet.data for packet in data_sent(connection, now)]


@pytest.mark.parametrize("seed", range(20))
def test_garbage(seed: int) -> None:
    rng = random.Random(seed)
    connection = established()
    for _ in range(200):
        try:
            connection.receive(rng.randbytes(rng.randint(0, 60)), *PAIR, 1.0)
        except ProtocolError as error:
            assert str(error)
        if connection.closed:  # a byte pair of 1,000 random ones is a close
            return
    list(connection.transmit(1.0))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_packets_of_a_real_exchange(seed: int) -> None:
    rng = random.Random(seed)
    connection = established()
    for i in range(300):
        packet = bytearray(
            rng.choice(
                [
                    encode_data(rng.randint(1, 50), rng.randbytes(30), encode_acks([(1, 5)], 100)),
                    encode_acks([(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(5)], 1000),
                    encode_handshake(["__0__"], 1000, 1000),
                ]
            )
        )
        packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
        now = 1.0 + i / 100
        try:
            connection.receive(bytes(packet), *PAIR, now)
        except ProtocolError as error:
            assert str(error)
        if connection.closed:
            return
        connection.receive_message(now)
        if not connection.write(b"x" * 100, now):
            connection.abort(now)
        due = connection.next_timeout()
        if due is not None and due <= now:
            connection.handle_timeout(now)
        list(connection.transmit(now))


def test_undecodable() -> None:
    connection = established()
    with pytest.raises(DecodeError, match="not an NCP packet"):
        connection.receive(b"\xff\xff\xff", *PAIR, 1.0)
    still_works(connection, 1.0)


def test_data_longer_than_our_mtu() -> None:
    connection = established()
    with pytest.raises(ProtocolError, match="1025 bytes of data; our MTU is 1024"):
        connection.receive(encode_data(1, b"x" * 1025), *PAIR, 1.0)
    still_works(connection, 1.0)


def test_data_on_no_path_of_ours() -> None:
    connection = established()
    with pytest.raises(ProtocolError, match="not a path"):
        connection.receive(encode_data(1, b"x"), "__0__", "__1__", 1.0)
    still_works(connection, 1.0)


def test_data_beyond_the_window_is_neither_kept_nor_acknowledged() -> None:
    connection = established()
    for sequence in range(2, 3000):
        connection.receive(encode_data(sequence, b"x" * 1000), *PAIR, 1.0)
    stats = connection.stats
    assert stats.bytes_received <= WINDOW
    assert stats.refused == 2998 - WINDOW // 1000
    acknowledged: set[int] = set()
    now = 1.02
    for item in connection.transmit(now):
        packet = decode(item.data)
        for start, count in zip(packet.ack_start_seq, packet.ack_seq_count, strict=True):
            acknowledged |= set(range(start, start + count))
    assert acknowledged == set(range(2, 2 + WINDOW // 1000))


def test_data_far_ahead() -> None:
    connection = established(mode=Mode.UNORDERED)
    for sequence in (100_000, 2**31 - 1):
        connection.receive(encode_data(sequence, b"x"), *PAIR, 1.0)
    assert connection.receive_message(1.0) is None
    assert connection.stats.refused == 2
    still_works(connection, 1.0)


def test_a_million_packets_without_data() -> None:
    connection = established(mode=Mode.UNORDERED)
    for sequence in range(1, 100_000, 2):
        connection.receive(Packet(sequence_id=sequence).SerializeToString(), *PAIR, 1.0)
    assert connection.receive_message(1.0) is None
    assert connection.stats.bytes_received == 0


def test_acks_of_what_was_never_sent() -> None:
    connection = established()
    connection.write(b"x", 1.0)
    data_sent(connection, 1.0)
    connection.receive(encode_acks([(2, 1), (77, 5), (MAX_SEQUENCE, 1)], 0), *PAIR, 1.1)
    assert connection.stats.bytes_in_flight == 1
    connection.receive(encode_acks([(1, 1)], 0), *PAIR, 1.2)
    assert connection.stats.bytes_in_flight == 0


def test_bytes_read_of_what_was_never_sent_does_not_open_the_window() -> None:
    connection = established(window=3000)
    connection.receive(encode_acks([], 2**64 - 1), *PAIR, 1.0)
    for _ in range(10):
        connection.write(b"x" * 1000, 1.0)
    assert len(data_sent(connection, 1.0)) == 3


def hostile_acks(rng: random.Random) -> Iterator[bytes]:
    """Overlapping ranges with huge counts, and as many as one packet may hold."""
    for _ in range(20):
        ranges = [(rng.randint(1, 5000), rng.randint(0, MAX_SEQUENCE)) for _ in range(MAX_RANGES_TAKEN)]
        yield encode_acks(ranges, 0)
        yield encode_acks([(2 + rng.randint(0, 9), 4000)] * MAX_RANGES_TAKEN, 0)


def test_acks_with_huge_overlapping_ranges_take_no_time() -> None:
    connection = established(window=2**32 - 1)
    now = 1.0
    for packet in hostile_acks(random.Random(1)):
        while connection.write(b"x" * 100, now):
            pass
        data_sent(connection, now)
        started = time.perf_counter()
        connection.receive(packet, *PAIR, now)
        assert time.perf_counter() - started < 0.5
        now += 0.01


def test_more_ack_ranges_than_anybody_sends() -> None:
    connection = established()
    connection.write(b"x", 1.0)
    data_sent(connection, 1.0)
    with pytest.raises(ProtocolError, match="60000 ACK ranges"):
        connection.receive(encode_acks([(1, 1)] * 60_000, 0), *PAIR, 1.0)
    still_works(connection, 1.0)


@pytest.mark.parametrize("state", ["idle", "dialling", "established"])
def test_a_packet_far_longer_than_our_mtu_is_not_even_parsed(state: str) -> None:
    connection = established() if state == "established" else Connection(Config(mtu=MTU), local_ids=["__0__"])
    if state == "dialling":
        connection.connect(0.0)
    for packet in (encode_acks([(1, 1)] * 1_000_000, 0), bytes(MTU + MAX_OVERHEAD + 1)):
        with pytest.raises(ProtocolError, match=f"NCP packet of {len(packet)} bytes; our MTU is 1024"):
            connection.receive(packet, *PAIR, 1.0)
    if state == "established":
        still_works(connection, 1.0)


def test_lists_of_different_lengths() -> None:
    connection = established()
    packet = Packet(ack_start_seq=[1, 2], ack_seq_count=[1])
    with pytest.raises(DecodeError, match="2 ACK ranges but 1 counts"):
        connection.receive(packet.SerializeToString(), *PAIR, 1.0)
    still_works(connection, 1.0)


def test_a_window_of_one_byte_and_an_mtu_of_one() -> None:
    connection = established(window=1, mtu=1)
    assert connection.send_mtu == 1
    for _ in range(5):
        connection.write(b"x", 1.0)
    assert len(data_sent(connection, 1.0)) == 1


def test_a_peer_that_never_acknowledges_gets_no_more_than_its_window() -> None:
    connection = established(window=100_000)
    now = 1.0
    sent = 0
    for _ in range(300):
        while connection.write(b"x" * 1000, now):
            pass
        sent += len(data_sent(connection, now))
        due = connection.next_timeout()
        assert due is not None
        now = max(now, due)
        connection.receive(encode_acks([], 0), *PAIR, now)
        connection.handle_timeout(now)
    stats = connection.stats
    assert stats.bytes_sent == 100_000
    assert stats.bytes_queued <= Config().send_buffer
    # Backed off to 10 s, with the smallest window on each of the two paths: nothing is hammered.
    assert sent / now < 2 * (MIN_WINDOW / 1000) / MAX_RTO * 1.1


def test_a_flood_of_handshakes_and_closes_in_every_state() -> None:
    for connection in (established(), Connection(Config(), local_ids=["__0__", "__1__"])):
        connection.receive(encode_handshake(["__0__"], 1000, 1000), *PAIR, 1.0)
        for i in range(1000):
            connection.receive(encode_handshake([str(i)], 1000, 1000), *PAIR, 1.0)
        assert len(list(connection.transmit(1.0))) <= 4
        for _ in range(1000):
            connection.receive(CLOSE, *PAIR, 1.0)
            connection.receive(encode_data(1, b"x"), *PAIR, 1.0)
        assert len(list(connection.transmit(1.0))) <= 1
        assert connection.next_timeout() is None


def test_duplicates_are_acknowledged_but_in_few_packets() -> None:
    connection = established()
    packets = 0
    for i in range(5000):
        now = 1.0 + i / 10_000
        connection.receive(encode_data(1, b"x"), *PAIR, now)
        packets += len(list(connection.transmit(now)))
    assert packets <= 60
    assert connection.stats.duplicates == 4999
    assert connection.receive_message(2.0) == b"x"
    assert connection.receive_message(2.0) is None
