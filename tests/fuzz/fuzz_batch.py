"""A batch of packets, as it comes out of the AEAD."""

from __future__ import annotations

from nconnect.errors import DecodeError
from nconnect.packet.batch import LENGTH_SIZE, MAX_CAPACITY, BatchWriter, iter_packets
from nconnect.packet.ip import MAX_PACKET
from nconnect.packet.virtio import PLAIN

ERRORS = (DecodeError,)


def batch(*packets: bytes) -> bytes:
    writer = BatchWriter(MAX_CAPACITY)
    for packet in packets:
        assert writer.add(packet)
    return bytes(writer.take())


def seeds() -> list[bytes]:
    small = PLAIN + bytes(20)
    return [batch(small), batch(small, PLAIN + bytes(100), small), (MAX_PACKET + 1).to_bytes(4, "little")]


def run(data: bytes) -> None:
    packets = [bytes(packet) for packet in iter_packets(data)]
    assert sum(LENGTH_SIZE + len(packet) for packet in packets) == len(data)
    assert batch(*packets) == data
