"""A packet with its virtio header: the check of a peer's, the addresses, the flow, the cutting."""

from __future__ import annotations

import contextlib

from nconnect.errors import DecodeError
from nconnect.packet import ip, virtio
from nconnect.packet.segment import segment, split

from .vectors import vectors

ERRORS = (DecodeError,)
PIECE = 100
"""Bytes: some of the seeds have more."""


def seeds() -> list[bytes]:
    packets = [bytes.fromhex(case["packet"]) for case in vectors("packet/linux_segments.json")["cases"]]
    return packets + [all_together(packet) for packet in packets]


def all_together(packet: bytes) -> bytes:
    """As if the whole packet were headers, which is what hdr_len may say after receive offload."""
    header = virtio.decode(packet)._replace(hdr_len=len(packet) - virtio.HEADER_SIZE)
    return header.encode() + packet[virtio.HEADER_SIZE :]


def run(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        source, destination = ip.addresses(data)
        flow = ip.flow(data)
        assert flow[:2] == (source, destination)
        assert len(source) == len(destination) in (4, 16)
    with contextlib.suppress(DecodeError):
        check_pieces(segment(data), data)
    virtio.check(data)
    ip.addresses(data)
    # What the kernel may be given, and is a packet at all, can be cut by us as well.
    try:
        assert segment(data)
        for piece in split(data, PIECE):
            virtio.check(piece)
    except DecodeError as error:
        raise AssertionError("cut, it is no packet any more") from error


def check_pieces(pieces: list[bytes], data: bytes) -> None:
    assert len(pieces) <= virtio.MAX_TCP_SEGMENTS
    for piece in pieces:
        assert not piece[0] & virtio.F_NEEDS_CSUM and piece[1] == virtio.GSO_NONE
        assert len(piece) <= len(data)
        assert ip.addresses(piece) == ip.addresses(data)
