"""Explicit congestion notification: say "slow down" without losing a packet (RFC 3168).

Of two bits in the IP header the sender sets one if it understands; a router that would drop sets both.
"""

from __future__ import annotations

import struct

from .virtio import HEADER_SIZE

_CE = 3
_IPV4_CHECKSUM = HEADER_SIZE + 10
_U16 = struct.Struct("!H")


def mark(packet: bytes) -> bytes | None:
    """`packet` with "congestion experienced" set; None if its sender does not understand that.

    Of a super-packet this marks every segment: all have its IP header. `packet` has passed `ip.addresses`.
    """
    first = packet[HEADER_SIZE]
    second = packet[HEADER_SIZE + 1]
    # IPv4 has the two bits at the end of its second byte, IPv6 in the middle of it: its traffic class
    # begins half a byte earlier.
    shift = 0 if first >> 4 == 4 else 4
    bits = second >> shift & _CE
    if not bits:
        return None
    if bits == _CE:
        return packet
    marked = bytearray(packet)
    marked[HEADER_SIZE + 1] = second | _CE << shift
    if not shift:
        # RFC 1624: the sum changes by what its word changes by.
        (checksum,) = _U16.unpack_from(packet, _IPV4_CHECKSUM)
        total = ~checksum & 0xFFFF
        total += _CE - bits
        _U16.pack_into(marked, _IPV4_CHECKSUM, ~(total % 0x10000 + (total >> 16)) & 0xFFFF)
    return bytes(marked)
