from __future__ import annotations

import random

import pytest

from nconnect.ncp import Mode
from nconnect.ncp.receive import MAX_PACKETS, Arrival, ReceiveBuffer
from nconnect.ncp.sequence import MAX_SEQUENCE, advance


@pytest.mark.parametrize("first", [1, MAX_SEQUENCE - 20])
@pytest.mark.parametrize("mode", list(Mode))
def test_every_packet_is_delivered_once_whatever_the_order(mode: Mode, first: int) -> None:
    for seed in range(30):
        rng = random.Random(seed)
        packets = [(advance(first, i), bytes([i]) * rng.randint(1, 9)) for i in range(50)]
        arriving = packets * 2
        rng.shuffle(arriving)
        buffer = ReceiveBuffer(mode, 1 << 20, first)
        fresh = [packet for packet in arriving if buffer.accept(*packet) is Arrival.NEW]
        assert sorted(fresh) == sorted(packets)
        expected = fresh if mode is Mode.UNORDERED else packets
        if mode is Mode.STREAM:
            got = b""
            while chunk := buffer.read(rng.randint(1, 20)):
                got += chunk
            assert got == b"".join(data for _, data in expected), f"seed {seed}"
        else:
            assert [buffer.pop() for _ in packets] == [data for _, data in expected], f"seed {seed}"
            assert buffer.pop() is None
        assert buffer.buffered == 0
        assert not buffer.readable


def test_a_gap_holds_back_what_follows_only_where_order_is_promised() -> None:
    ordered = ReceiveBuffer(Mode.MESSAGE, 1000, 1)
    unordered = ReceiveBuffer(Mode.UNORDERED, 1000, 1)
    for buffer in (ordered, unordered):
        buffer.accept(2, b"later")
    assert ordered.pop() is None
    assert unordered.pop() == b"later"


def test_window_counts_what_is_not_read() -> None:
    buffer = ReceiveBuffer(Mode.MESSAGE, 10, 1)
    assert buffer.accept(1, b"123456") is Arrival.NEW
    assert buffer.accept(2, b"12345") is Arrival.REFUSED
    assert buffer.accept(2, b"1234") is Arrival.NEW
    assert buffer.pop() == b"123456"
    assert buffer.accept(3, b"123456") is Arrival.NEW


def test_packets_of_no_bytes_take_their_number_only() -> None:
    buffer = ReceiveBuffer(Mode.MESSAGE, 10, 1)
    assert buffer.accept(1, b"") is Arrival.NEW
    assert buffer.accept(2, b"x") is Arrival.NEW
    assert buffer.accept(1, b"") is Arrival.DUPLICATE
    assert buffer.pop() == b"x"


@pytest.mark.parametrize("mode", list(Mode))
def test_number_of_packets_is_bounded_although_they_are_small(mode: Mode) -> None:
    buffer = ReceiveBuffer(mode, 1 << 30, 1)
    assert buffer.accept(1 + MAX_PACKETS, b"x") is Arrival.REFUSED
    for i in range(MAX_PACKETS):
        assert buffer.accept(2 + i, b"") is (Arrival.NEW if i < MAX_PACKETS - 1 else Arrival.REFUSED)
    assert buffer.accept(1, b"x") is Arrival.NEW


def test_unread_packets_are_bounded_although_they_are_small() -> None:
    buffer = ReceiveBuffer(Mode.MESSAGE, 1 << 30, 1)
    for i in range(MAX_PACKETS):
        assert buffer.accept(1 + i, b"x") is Arrival.NEW
    assert buffer.accept(1 + MAX_PACKETS, b"x") is Arrival.REFUSED
    buffer.pop()
    assert buffer.accept(1 + MAX_PACKETS, b"x") is Arrival.NEW


def test_far_behind_is_a_duplicate() -> None:
    buffer = ReceiveBuffer(Mode.MESSAGE, 100, 1000)
    assert buffer.accept(999, b"x") is Arrival.DUPLICATE
    assert buffer.accept(MAX_SEQUENCE, b"x") is Arrival.DUPLICATE
