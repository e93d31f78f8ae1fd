"""Ending a TCP connection that somebody else had, without knowing where it stands.

::

    us  ── SYN, any number ──────────► server      "I have this connection already:"
    us  ◄── ACK, the server's numbers ── server    a challenge ACK (RFC 5961, 4.2)
    us  ── RST, exactly that number ─► server      taken (RFC 5961, 3.2)

A reset is taken only with the very number that the server expects next, which its answer to a SYN tells.
Whatever else the server sends meanwhile tells it too. A packet is as `nconnect.packet.virtio` defines it.
"""

from __future__ import annotations

import struct

from . import ip
from .checksum import complement, pseudo_header, word_sum
from .virtio import (
    HEADER_SIZE,
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PLAIN,
    PROTOCOL_TCP,
    TCP_HEADER_SIZE,
)

SYN, RST, ACK = 0x02, 0x04, 0x10
HOP_LIMIT = 64
WINDOW = 65535
"""Of our SYN; nobody sends into it."""

_TCP = struct.Struct("!HHIIBBHHH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")


def probe(source: bytes, destination: bytes, source_port: int, destination_port: int) -> bytes:
    """A SYN from one end of a connection, which makes the other end tell its numbers.

    Addresses are 4 or 16 raw bytes.
    """
    return _packet(source, destination, source_port, destination_port, 0, SYN)


def reset_for(packet: bytes) -> bytes | None:
    """The reset that the sender of `packet` takes; None if it needs none, or `packet` does not tell.

    DecodeError: it is no IP packet.
    """
    source, destination, protocol, source_port, destination_port = ip.flow(packet)
    if protocol != PROTOCOL_TCP or not source_port:
        return None
    ihl = (packet[HEADER_SIZE] & 15) * 4 if len(source) == 4 else IPV6_HEADER_SIZE
    _, _, _, acknowledged, _, flags, *_ = _TCP.unpack_from(packet, HEADER_SIZE + ihl)
    if flags & RST or not flags & ACK:
        return None
    return _packet(destination, source, destination_port, source_port, acknowledged, RST)


def _packet(
    source: bytes, destination: bytes, from_port: int, to_port: int, sequence: int, flags: int
) -> bytes:
    length, offset = TCP_HEADER_SIZE, TCP_HEADER_SIZE // 4 << 4
    fields = (from_port, to_port, sequence, 0, offset, flags, WINDOW if flags & SYN else 0)
    total = word_sum(_TCP.pack(*fields, 0, 0)) + pseudo_header(source, destination, PROTOCOL_TCP) + length
    segment = _TCP.pack(*fields, complement(total), 0)
    if len(source) == 16:
        return PLAIN + _IPV6.pack(6 << 28, length, PROTOCOL_TCP, HOP_LIMIT, source, destination) + segment
    header = (0x45, 0, IPV4_HEADER_SIZE + length, 0, 0, HOP_LIMIT, PROTOCOL_TCP)
    checksum = complement(word_sum(_IPV4.pack(*header, 0, source, destination)))
    return PLAIN + _IPV4.pack(*header, checksum, source, destination) + segment
