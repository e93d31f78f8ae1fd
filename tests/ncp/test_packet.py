"""Packets against vectors computed by @nkn/ncp, and bytes that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import DecodeError
from nconnect.ncp.packet import CLOSE, ack_ranges, decode, encode_acks, encode_data, encode_handshake

PACKETS = {
    vector["name"]: vector
    for vector in json.loads((Path(__file__).parent / "vectors.json").read_text())["packets"]
}


def wire(name: str) -> bytes:
    return bytes.fromhex(PACKETS[name]["hex"])


def fields(name: str) -> dict[str, Any]:
    return dict(PACKETS[name]["fields"])


def test_encode_vectors() -> None:
    handshake = fields("handshake")
    assert encode_handshake(handshake["client_ids"], handshake["window_size"], handshake["mtu"]) == wire(
        "handshake"
    )
    assert encode_data(1, bytes.fromhex(fields("data")["data"])) == wire("data")
    assert encode_acks([(1, 5), (9, 1)], 5120) == wire("ack")
    assert encode_acks([(3, 1), (7, 1)], 1) == wire("ack_no_count")
    assert encode_acks([], fields("bytes_read")["bytes_read"]) == wire("bytes_read")
    assert wire("close") == CLOSE


@pytest.mark.parametrize("name", PACKETS)
def test_decode_vectors(name: str) -> None:
    packet = decode(memoryview(wire(name)))
    for field, value in fields(name).items():
        got = getattr(packet, field)
        if field == "data":
            value = bytes.fromhex(value)
        assert (list(got) if isinstance(value, list) else got) == value


@given(
    st.integers(1, 2**32 - 1),
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1)), max_size=32),
    st.integers(0, 2**64 - 1),
)
def test_data_with_acks_in_its_tail_is_one_packet(
    sequence: int, data: bytes, ranges: list[tuple[int, int]], bytes_read: int
) -> None:
    packet = decode(encode_data(sequence, memoryview(data), encode_acks(ranges, bytes_read)))
    assert (packet.sequence_id, packet.data, packet.bytes_read) == (sequence, data, bytes_read)
    assert ack_ranges(packet) == ranges


def test_left_out_ack_fields_mean_what_they_mean_to_the_sdks() -> None:
    assert ack_ranges(decode(bytes.fromhex("1a020307"))) == [(3, 1), (7, 1)]
    assert ack_ranges(decode(bytes.fromhex("22020307"))) == [(1, 3), (1, 7)]


def test_ack_lists_of_different_lengths() -> None:
    with pytest.raises(DecodeError, match="2 ACK ranges but 1 counts"):
        ack_ranges(decode(bytes.fromhex("1a020307220105")))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    try:
        packet = decode(data)
        ack_ranges(packet)
    except DecodeError as error:
        assert str(error)


@pytest.mark.parametrize("name", ["handshake", "data", "ack", "bytes_read"])
def test_truncated(name: str) -> None:
    with pytest.raises(DecodeError, match="not an NCP packet"):
        decode(wire(name)[:-1])
