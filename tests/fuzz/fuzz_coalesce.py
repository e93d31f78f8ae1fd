"""Packets as a kernel hands them over, put together: what comes out is sound, and cut again it is as much."""

from __future__ import annotations

import contextlib

from nconnect.errors import DecodeError
from nconnect.packet import ip, virtio
from nconnect.packet.batch import iter_packets
from nconnect.packet.coalesce import Coalescer
from nconnect.packet.segment import segment

from .fuzz_batch import batch
from .vectors import vectors

ERRORS = (DecodeError,)


def seeds() -> list[bytes]:
    cases = vectors("packet/linux_segments.json")["cases"]
    return [batch(*segment(bytes.fromhex(case["packet"]))[:4]) for case in cases]


def run(data: bytes) -> None:
    coalescer = Coalescer()
    coalescer.udp = True
    length = 0
    for packet in map(bytes, iter_packets(data)):
        with contextlib.suppress(DecodeError):
            virtio.check(packet)
            ip.addresses(packet)
            length += sum(map(len, segment(packet)))
            coalescer.add(packet)
    for packet in coalescer.take():
        virtio.check(packet)
        length -= sum(map(len, segment(packet)))
    assert not length
