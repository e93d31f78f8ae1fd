"""The 10-byte virtio header that travels in front of every IP packet, and the check of a peer's.

::

    u8 flags | u8 gso_type | u16 hdr_len | u16 gso_size | u16 csum_start | u16 csum_offset

It says what the kernel left for later: cut a super-packet of up to 64 KiB into segments (GSO), finish a
checksum whose field holds only the pseudo header's sum (NEEDS_CSUM).  Offsets count from the IP header.
On the wire between two of us the fields are little-endian, as a TUN device of a little-endian machine has
them (struct virtio_net_hdr in include/uapi/linux/virtio_net.h).

A *packet* is, all over this project, such a header and the IP packet behind it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from nconnect.errors import DecodeError

HEADER_SIZE = 10

F_NEEDS_CSUM = 1
F_DATA_VALID = 2

GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
GSO_UDP_L4 = 5
# A flag beside the type: the segments carry TCP's ECN bits.
GSO_ECN = 0x80

PLAIN = bytes(HEADER_SIZE)
"""Header of a packet that is finished: no segments to cut, no checksum to complete."""

MAX_TCP_SEGMENTS = 2048
"""The smallest MSS that Linux agrees to by default is 48, 36 after timestamps: 1,820 segments in 64 KiB.
More would only let a peer turn one packet into tens of thousands on the provider's LAN."""

MAX_UDP_SEGMENTS = 128
"""UDP_MAX_SEGMENTS of include/linux/udp.h (64 before Linux 6.10): the kernel sends no more in one call."""

PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
TCP_HEADER_SIZE = 20
UDP_HEADER_SIZE = 8
IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40
# More-fragments bit and fragment offset of IPv4's flags field.
IPV4_FRAGMENT_MASK = 0x3FFF

CHECKSUM_OFFSETS = {PROTOCOL_TCP: 16, PROTOCOL_UDP: 6}
"""Where the checksum lies in the header of that IP protocol."""

_HEADER = struct.Struct("<BBHHHH")
_IPV4 = struct.Struct("!BxHxxHxB")
_IPV6 = struct.Struct("!4xHB")


class Header(NamedTuple):
    """struct virtio_net_hdr, decoded; all offsets and sizes in bytes."""

    flags: int = 0
    gso_type: int = GSO_NONE
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0

    def encode(self) -> bytes:
        return _HEADER.pack(*self)


def decode(packet: bytes | bytearray | memoryview) -> Header:
    """The header in front of `packet`; DecodeError when there are fewer than 10 bytes."""
    try:
        return Header._make(_HEADER.unpack_from(packet))
    except struct.error:
        raise DecodeError(f"a packet of {len(packet)} bytes has no whole virtio header") from None


def check(packet: bytes | bytearray | memoryview) -> None:
    """Raise DecodeError unless the kernel may be given `packet` with its header as it stands.

    Stricter than the kernel, for the kernel completes the checksum after every filter has looked at the
    packet: a free choice of its place would let a peer rewrite its source address or the port behind the
    firewall's back.  So the place must be the checksum field of the TCP or UDP header that follows the IP
    header at once.  The IP header of a plain packet is left to `ip` and to the kernel.

    Whoever reads a packet from its own kernel that fails here (a tunnel inside the tunnel, IPv6 extension
    headers) sends what `segment` makes of it.
    """
    try:
        flags, gso_type, hdr_len, gso_size, csum_start, csum_offset = _HEADER.unpack_from(packet)
        size = len(packet) - HEADER_SIZE
        if hdr_len > size:
            raise DecodeError(f"virtio header: {hdr_len} bytes of headers in a packet of {size}")
        if flags == F_NEEDS_CSUM:
            version, protocol, transport, payload = _layout(packet, size)
            if csum_start != transport or csum_offset != CHECKSUM_OFFSETS[protocol]:
                raise DecodeError(
                    f"virtio header: checksum at {csum_start}+{csum_offset} is not the packet's"
                )
            if gso_type != GSO_NONE:
                check_gso(gso_type, gso_size, payload, version, protocol)
        elif flags & ~F_DATA_VALID:
            raise DecodeError(f"virtio header: unknown flags {flags:#x}")
        elif gso_type != GSO_NONE:
            raise DecodeError(f"virtio header: GSO type {gso_type} without a partial checksum")
    except (struct.error, IndexError):
        raise DecodeError(f"a packet of {len(packet)} bytes is cut off in its headers") from None


def _layout(packet: bytes | bytearray | memoryview, size: int) -> tuple[int, int, int, int]:
    """(IP version, TCP or UDP, bytes of IP header, bytes of payload) of a packet with `size` bytes of IP."""
    version = packet[HEADER_SIZE] >> 4
    if version == 4:
        first, total, fragment, protocol = _IPV4.unpack_from(packet, HEADER_SIZE)
        transport = (first & 15) * 4
        if fragment & IPV4_FRAGMENT_MASK or transport < IPV4_HEADER_SIZE:
            raise DecodeError("virtio header: a partial checksum in a fragment or a bad IPv4 header")
    elif version == 6:
        total, protocol = _IPV6.unpack_from(packet, HEADER_SIZE)
        total += IPV6_HEADER_SIZE
        transport = IPV6_HEADER_SIZE
    else:
        raise DecodeError(f"virtio header in front of IP version {version}")
    if protocol == PROTOCOL_TCP:
        header = (packet[HEADER_SIZE + transport + 12] >> 4) * 4
        if header < TCP_HEADER_SIZE:
            raise DecodeError(f"TCP header of {header} bytes")
    elif protocol == PROTOCOL_UDP:
        header = UDP_HEADER_SIZE
    else:
        raise DecodeError(f"virtio header: no partial checksum is known for IP protocol {protocol}")
    payload = size - transport - header
    if total != size or payload < 0:
        raise DecodeError(f"virtio header: {transport}+{header} bytes of headers, {total} by IP, {size} came")
    return version, protocol, transport, payload


def check_gso(gso_type: int, gso_size: int, payload: int, version: int, protocol: int) -> None:
    """DecodeError unless `payload` bytes may be cut into segments of `gso_size`, in a packet of that kind."""
    if protocol == PROTOCOL_TCP:
        fits = gso_type & ~GSO_ECN == (GSO_TCPV4 if version == 4 else GSO_TCPV6)
        limit = MAX_TCP_SEGMENTS
    else:
        fits = gso_type == GSO_UDP_L4
        limit = MAX_UDP_SEGMENTS
    if not fits:
        raise DecodeError(f"virtio header: GSO type {gso_type} over IPv{version} protocol {protocol}")
    if not gso_size or not payload or payload > gso_size * limit:
        raise DecodeError(f"virtio header: {payload} bytes in segments of {gso_size}")
