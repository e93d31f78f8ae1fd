"""NCP packets to bytes and back. Source: pb/packet.proto of ncp-go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from google.protobuf.message import DecodeError as ProtobufError

from nconnect.errors import DecodeError

from .packet_pb2 import Packet

# What ncp-go puts into one packet (MaxAckSeqListSize).
MAX_ACK_RANGES = 32
# That is configurable there. Far more can only be meant to cost us time.
MAX_RANGES_TAKEN = 1024
# Bytes of a packet beside its data: ours and the SDKs' have some hundred, 1,024 ranges 10 KiB. A packet of
# megabytes, which a message could carry, takes a hundred times as long to parse as it does to send.
MAX_OVERHEAD = 64 << 10

CLOSE = Packet(close=True).SerializeToString()
# To a peer that goes on with a session that we never had: it is over, and not in good order. Other SDKs see a
# close, whose other fields they do not look at (ncp-go session.go, handleClosePacket).
UNKNOWN = Packet(close=True, data=b"unknown session").SerializeToString()

_TAG_DATA = b"\x12"

AckRange = tuple[int, int]
"""(first sequence number, how many)."""


def decode(data: bytes | memoryview) -> Packet:
    """One packet. DecodeError: not an NCP packet."""
    try:
        return Packet.FromString(data)  # type: ignore[arg-type]  # takes any buffer
    except ProtobufError as error:
        raise DecodeError(f"not an NCP packet: {len(data)} bytes that protobuf cannot read") from error


def encode_handshake(client_ids: Iterable[str], window_size: int, mtu: int) -> bytes:
    return Packet(handshake=True, client_ids=client_ids, window_size=window_size, mtu=mtu).SerializeToString()


def encode_acks(ranges: Sequence[AckRange], bytes_read: int) -> bytes:
    """ACK ranges and `bytes_read`; either may be empty or 0."""
    counts = [count for _, count in ranges]
    if all(count == 1 for count in counts):
        counts.clear()
    return Packet(
        ack_start_seq=[start for start, _ in ranges], ack_seq_count=counts, bytes_read=bytes_read
    ).SerializeToString()


def encode_data(sequence: int, data: bytes | memoryview, tail: bytes = b"") -> bytes:
    """A data packet; `tail` is what encode_acks() gave, to travel along.

    Written by hand, as the concatenation of two protobuf messages is their merge: data is copied once,
    not twice, and may be a memoryview.
    """
    return b"".join((b"\x08", _varint(sequence), _TAG_DATA, _varint(len(data)), data, tail))


def ack_ranges(packet: Packet) -> list[AckRange]:
    """The ACK ranges of a packet, with what ncp-go takes for fields that are left out.

    DecodeError: both lists are there, of different lengths; or more than anybody sends.
    """
    starts, counts = packet.ack_start_seq, packet.ack_seq_count
    if (number := max(len(starts), len(counts))) > MAX_RANGES_TAKEN:
        raise DecodeError(f"NCP packet with {number} ACK ranges; at most {MAX_RANGES_TAKEN} are taken")
    if not counts:
        return [(start, 1) for start in starts]
    if not starts:
        return [(1, count) for count in counts]
    if len(starts) != len(counts):
        raise DecodeError(f"NCP packet with {len(starts)} ACK ranges but {len(counts)} counts")
    return list(zip(starts, counts, strict=True))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
