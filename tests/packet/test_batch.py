from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import DecodeError, UsageError
from nconnect.packet.batch import LENGTH_SIZE, MAX_CAPACITY, MIN_PACKET, BatchWriter, iter_packets
from nconnect.packet.ip import MAX_PACKET

KIB = 1024


def test_golden_bytes() -> None:
    writer = BatchWriter(128 * KIB)
    assert writer.add(b"a" * 30) and writer.add(b"b" * 40)
    assert writer.take() == b"\x1e\0\0\0" + b"a" * 30 + b"\x28\0\0\0" + b"b" * 40


@given(st.lists(st.binary(min_size=MIN_PACKET, max_size=2000), max_size=20))
def test_what_is_added_comes_out(packets: list[bytes]) -> None:
    writer = BatchWriter(128 * KIB)
    for packet in packets:
        assert writer.add(packet)
    assert writer.size == sum(len(packet) + LENGTH_SIZE for packet in packets)
    assert [bytes(packet) for packet in iter_packets(writer.take())] == packets


def test_size_and_capacity() -> None:
    writer = BatchWriter(128 * KIB)
    writer.add(b"a" * 30)
    assert (writer.size, writer.capacity) == (34, 128 * KIB)


def test_take_begins_a_new_batch() -> None:
    writer = BatchWriter(128 * KIB)
    writer.add(b"a" * 30)
    writer.take()
    assert writer.size == 0 and not writer.take().tobytes()


def test_a_full_batch_refuses_a_packet_and_keeps_the_others() -> None:
    writer = BatchWriter(100_000)
    assert writer.add(b"a" * 60_000)
    assert not writer.add(b"b" * 60_000)
    assert writer.add(b"c" * 1000)
    assert [len(packet) for packet in iter_packets(writer.take())] == [60_000, 1000]


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 65000 bytes"):
        BatchWriter(65000)
    with pytest.raises(UsageError, match="a batch of"):
        BatchWriter(MAX_CAPACITY + 1)
    writer = BatchWriter(128 * KIB)
    with pytest.raises(UsageError, match="65586"):
        writer.add(bytes(MAX_PACKET + 1))
    with pytest.raises(UsageError, match="29"):
        writer.add(bytes(29))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (b"\x1e\0\0", "in a length field at 0"),
        (b"\0\0\0\0", "a packet of 0 bytes"),
        (b"\x1d\0\0\0" + bytes(29), "a packet of 29 bytes"),
        (b"\x32\x00\x01\x00" + bytes(65586), "a packet of 65586 bytes"),
        (b"\xff\xff\xff\xff" + bytes(100), "a packet of 4294967295 bytes"),
        (b"\x1e\0\0\0" + bytes(29), "a packet of 30 bytes, 29 are left"),
    ],
)
def test_broken_batches(batch: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        list(iter_packets(batch))


def test_packets_in_front_of_a_broken_one_are_there() -> None:
    packets = iter_packets(b"\x1e\0\0\0" + b"a" * 30 + b"\0")
    assert next(packets) == b"a" * 30
    with pytest.raises(DecodeError):
        next(packets)


@given(st.binary(max_size=300))
def test_random_bytes_raise_decode_errors_only(data: bytes) -> None:
    try:
        for packet in iter_packets(data):
            assert MIN_PACKET <= len(packet) <= MAX_PACKET
    except DecodeError:
        pass
