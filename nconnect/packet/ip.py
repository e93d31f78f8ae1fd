"""What routing needs of an IP packet: its addresses and its flow.

Every function takes a packet as `nconnect.packet.virtio` defines it (virtio header, then IPv4 or IPv6) and
raises DecodeError when the packet is cut off, is another version, or its length field and its length differ.
"""

from __future__ import annotations

import struct

from nconnect.errors import DecodeError

from .virtio import (
    HEADER_SIZE,
    IPV4_FRAGMENT_MASK,
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_HEADER_SIZE,
    UDP_HEADER_SIZE,
)

MIN_IP_SIZE = IPV4_HEADER_SIZE
"""IPv4 without options and payload; any packet has as much."""

MAX_IP_SIZE = 65535 + IPV6_HEADER_SIZE
"""IPv6's payload length is 16 bits and leaves its own header out; IPv4's total length fits with ease."""

MAX_PACKET = HEADER_SIZE + MAX_IP_SIZE
"""Bytes to have ready for one read from a TUN device with offloads."""

Flow = tuple[bytes, bytes, int, int, int]
"""Source, destination, protocol, source port, destination port."""

_IPV4 = struct.Struct("!BxH8x4s4s")
_IPV6 = struct.Struct("!4xHxx16s16s")
_PORTS = struct.Struct("!HH")

_TRANSPORT_HEADER = {PROTOCOL_TCP: TCP_HEADER_SIZE, PROTOCOL_UDP: UDP_HEADER_SIZE}


def addresses(packet: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
    """(source, destination), 4 raw bytes each for IPv4, 16 for IPv6."""
    try:
        version = packet[HEADER_SIZE] >> 4
        if version == 4:
            first, length, source, destination = _IPV4.unpack_from(packet, HEADER_SIZE)
            if first < 0x45:
                raise DecodeError(f"IPv4 header of {(first & 15) * 4} bytes")
        elif version == 6:
            length, source, destination = _IPV6.unpack_from(packet, HEADER_SIZE)
            length += IPV6_HEADER_SIZE
        else:
            raise DecodeError(f"IP version {version}, neither 4 nor 6")
    except (IndexError, struct.error):
        raise DecodeError(f"IP packet cut off after {max(len(packet) - HEADER_SIZE, 0)} bytes") from None
    if length != len(packet) - HEADER_SIZE:
        raise DecodeError(f"IP packet says {length} bytes and has {len(packet) - HEADER_SIZE}")
    return source, destination


def source(packet: bytes | bytearray | memoryview) -> bytes:
    """Source address, 4 or 16 raw bytes."""
    return addresses(packet)[0]


def destination(packet: bytes | bytearray | memoryview) -> bytes:
    """Destination address, 4 or 16 raw bytes."""
    return addresses(packet)[1]


def flow(packet: bytes | bytearray | memoryview) -> Flow:
    """The 5-tuple by which packets of one conversation are kept together and apart from others.

    Ports are 0 where there are none to see: other protocols, fragments, IPv6 extension headers.
    """
    source, destination = addresses(packet)
    if len(source) == 4:
        protocol = packet[HEADER_SIZE + 9]
        transport = HEADER_SIZE + (packet[HEADER_SIZE] & 15) * 4
        fragment = (packet[HEADER_SIZE + 6] << 8 | packet[HEADER_SIZE + 7]) & IPV4_FRAGMENT_MASK
    else:
        protocol = packet[HEADER_SIZE + 6]
        transport = HEADER_SIZE + IPV6_HEADER_SIZE
        fragment = 0
    needed = _TRANSPORT_HEADER.get(protocol)
    if needed is None or fragment or transport + needed > len(packet):
        return source, destination, protocol, 0, 0
    source_port, destination_port = _PORTS.unpack_from(packet, transport)
    return source, destination, protocol, source_port, destination_port
