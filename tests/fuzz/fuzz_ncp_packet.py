"""One packet of a session."""

from __future__ import annotations

from nconnect.errors import DecodeError
from nconnect.ncp.packet import ack_ranges, decode, encode_acks, encode_data, encode_handshake

from .vectors import vectors

ERRORS = (DecodeError,)


def seeds() -> list[bytes]:
    known = [bytes.fromhex(packet["hex"]) for packet in vectors("ncp/vectors.json")["packets"]]
    return [*known, encode_data(7, b"data", encode_acks([(1, 3), (9, 1)], 100))]


def run(data: bytes) -> None:
    packet = decode(data)
    ranges = ack_ranges(packet)
    assert len(packet.data) + len(ranges) + sum(map(len, packet.client_ids)) <= len(data)
    # What we read from it we would write so that it is read the same.
    again = decode(encode_data(packet.sequence_id, packet.data, encode_acks(ranges, packet.bytes_read)))
    assert (again.sequence_id, again.data, again.bytes_read) == (
        packet.sequence_id,
        packet.data,
        packet.bytes_read,
    )
    assert ack_ranges(again) == ranges
    names = decode(encode_handshake(packet.client_ids, packet.window_size, packet.mtu))
    assert (names.window_size, names.mtu) == (packet.window_size, packet.mtu)
    assert names.client_ids == packet.client_ids
