"""A packet with its virtio header: the check of a peer's, the addresses, the flow, the cutting."""

from __future__ import annotations

import contextlib

from nconnect.errors import DecodeError
from nconnect.packet import ip, virtio
from nconnect.packet.segment import segment, split

from .vectors import vectors

ERRORS = (DecodeError,)
PIECE = 4000


def seeds() -> list[bytes]:
    return [bytes.fromhex(case["packet"]) for case in vectors("packet/linux_segments.json")["cases"]]


def run(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        source, destination = ip.addresses(data)
        flow = ip.flow(data)
        assert flow[:2] == (source, destination)
        assert len(source) == len(destination) in (4, 16)
    with contextlib.suppress(DecodeError):
        check_pieces(segment(data), data)
    virtio.check(data)
    # What the kernel may be given, and is a packet at all, can be cut by us as well.
    with contextlib.suppress(DecodeError):
        ip.addresses(data)
        assert segment(data)
        for piece in split(data, PIECE):
            virtio.check(piece)


def check_pieces(pieces: list[bytes], data: bytes) -> None:
    assert len(pieces) <= virtio.MAX_TCP_SEGMENTS
    for piece in pieces:
        assert not piece[0] & virtio.F_NEEDS_CSUM and piece[1] == virtio.GSO_NONE
        assert len(piece) <= len(data)
        assert ip.addresses(piece) == ip.addresses(data)
