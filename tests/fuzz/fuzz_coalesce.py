"""Packets as a kernel hands them over, put together: what comes out is sound, and cut again it is as much."""

from __future__ import annotations

import contextlib
from unittest.mock import patch

from nconnect.errors import DecodeError
from nconnect.packet import coalesce, ip, virtio
from nconnect.packet.batch import iter_packets
from nconnect.packet.segment import segment

from .fuzz_batch import batch
from .vectors import vectors

ERRORS = (DecodeError,)
FEW = 2
"""Segments at most in a packet here, so that inputs of a usual size have more."""


TCP_FLAGS, ACK = 13, 0x10


def seeds() -> list[bytes]:
    cases = vectors("packet/linux_segments.json")["cases"]
    packets = {case["name"]: bytes.fromhex(case["packet"]) for case in cases}
    packets |= {f"data of {name}": of_data(packets[name]) for name in ("tcp4", "tcp6")}
    return [batch(*segment(packet)) for packet in packets.values()]


def of_data(packet: bytes) -> bytes:
    """Without the flags of a beginning and an end, whose packets are not put together."""
    data = bytearray(packet)
    data[virtio.HEADER_SIZE + virtio.decode(packet).csum_start + TCP_FLAGS] = ACK
    return bytes(data)


def run(data: bytes) -> None:
    # Both: who puts together, and who checks.
    with (
        patch.multiple(coalesce, MAX_TCP_SEGMENTS=FEW, MAX_UDP_SEGMENTS=FEW),
        patch.multiple(virtio, MAX_TCP_SEGMENTS=FEW, MAX_UDP_SEGMENTS=FEW),
    ):
        put_together(data)


def put_together(data: bytes) -> None:
    coalescer = coalesce.Coalescer()
    coalescer.udp = True
    length = 0
    for packet in map(bytes, iter_packets(data)):
        with contextlib.suppress(DecodeError):
            virtio.check(packet)
            ip.addresses(packet)
            length += sum(map(len, segment(packet)))
            coalescer.add(packet)
    for packet in coalescer.take():
        try:
            virtio.check(packet)
            length -= sum(map(len, segment(packet)))
        except DecodeError as error:
            raise AssertionError("put together, they are no packet any more") from error
    assert not length
