"""Many packets of one flow made one super-packet: what a network card's receive offload does (GRO).

What was cut by somebody's MTU, or sent as small datagrams, is put together again before it is batched. So
each costs the receiver nothing of its own: its kernel takes one super-packet, and cuts it where it was put
together.
After tcp_gro_receive and udp_gro_receive_segment of the Linux kernel.
"""

from __future__ import annotations

import struct

from .batch import LENGTH_SIZE
from .checksum import complement, pseudo_header, word_sum
from .virtio import (
    CHECKSUM_OFFSETS,
    F_DATA_VALID,
    F_NEEDS_CSUM,
    GSO_NONE,
    GSO_TCPV4,
    GSO_TCPV6,
    GSO_UDP_L4,
    HEADER_SIZE,
    IPV4_HEADER_SIZE,
    IPV6_HEADER_SIZE,
    MAX_TCP_SEGMENTS,
    MAX_UDP_SEGMENTS,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_HEADER_SIZE,
    UDP_HEADER_SIZE,
    Header,
)

MAX_RUN = 65_535
"""Bytes of an IP packet; IPv6 could have 40 more."""

_V4 = HEADER_SIZE + IPV4_HEADER_SIZE
_V6 = HEADER_SIZE + IPV6_HEADER_SIZE
_NO_OPTIONS = 0x45
# Not a fragment, and never to be one: then its identification means nothing (RFC 6864) and need not be kept.
_DONT_FRAGMENT = b"\x40\0"

_ACK = 0x10
_PSH = 0x08
_ECE = 0x40

_U16 = struct.Struct("!H")
_SEQUENCE = struct.Struct("!4xI")


class _Run:
    """Packets of one flow that follow each other."""

    __slots__ = ("alike", "data", "first", "flags", "next_sequence", "parts", "size", "total", "transport")

    def __init__(
        self, first: bytes, transport: int, data: int, alike: bytes, flags: int, next_sequence: int
    ) -> None:
        self.first = first
        self.transport = transport
        self.data = data
        """Where TCP's or UDP's header begins, and the payload."""
        self.alike = alike
        """What all have in common, beside their addresses and ports."""
        self.flags = flags
        self.next_sequence = next_sequence
        self.size = len(first) - data
        self.total = len(first)
        self.parts: list[bytes] = []

    def finish(self) -> bytes:
        """One packet that stands for all."""
        if not self.parts:
            return self.first
        first, transport, data = self.first, self.transport, self.data
        head = bytearray(first[:data])
        length = self.total - transport
        if transport == _V4:
            _U16.pack_into(head, HEADER_SIZE + 2, self.total - HEADER_SIZE)
            _U16.pack_into(head, HEADER_SIZE + 10, 0)
            _U16.pack_into(head, HEADER_SIZE + 10, complement(word_sum(head[HEADER_SIZE:transport])))
        else:
            _U16.pack_into(head, HEADER_SIZE + 4, length)
        protocol = PROTOCOL_TCP
        gso_type = GSO_TCPV4 if transport == _V4 else GSO_TCPV6
        if not self.flags:
            protocol, gso_type = PROTOCOL_UDP, GSO_UDP_L4
            _U16.pack_into(head, transport + 4, length)
        else:
            head[transport + 13] = self.flags
        offset = CHECKSUM_OFFSETS[protocol]
        _U16.pack_into(head, transport + offset, (_pseudo(first, transport, protocol) + length) % 0xFFFF)
        header = Header(
            F_NEEDS_CSUM, gso_type, data - HEADER_SIZE, self.size, transport - HEADER_SIZE, offset
        )
        head[:HEADER_SIZE] = header.encode()
        return b"".join((head, first[data:], *self.parts))


class Coalescer:
    """`add` packets as they come, `take` what they have become.

    Each packet has passed `virtio.check` and `ip.addresses`. Packets of one flow stay in their order, as
    `ip.flow` tells flows apart: fragments, and packets with IPv6 extension headers, show no ports, and may be
    overtaken by others of their conversation, as in `FlowQueue`. With `udp` off datagrams stay as they are,
    for a peer whose kernel cannot cut them (Linux before 6.2).
    """

    __slots__ = ("_out", "_runs", "size", "udp")

    def __init__(self) -> None:
        self._runs: dict[bytes, _Run] = {}
        self._out: list[bytes | _Run] = []
        self.size = 0
        """Bytes that a batch of what `take` would return has at most."""
        self.udp = False

    def add(self, packet: bytes) -> None:
        self.size += len(packet) + LENGTH_SIZE
        first = packet[HEADER_SIZE]
        if first == _NO_OPTIONS:
            transport, protocol, key = _V4, packet[HEADER_SIZE + 9], packet[HEADER_SIZE + 12 : _V4 + 4]
        elif first >> 4 == 6:
            transport, protocol, key = _V6, packet[HEADER_SIZE + 6], packet[HEADER_SIZE + 8 : _V6 + 4]
        else:
            # Options, where there should be none: of which flow it is, is not worth finding out.
            self._runs.clear()
            self._out.append(packet)
            return
        if packet[1] == GSO_NONE:
            if protocol == PROTOCOL_UDP:
                if self.udp and self._add_udp(packet, transport, key):
                    return
            elif protocol == PROTOCOL_TCP and self._add_tcp(packet, transport, key):
                return
        # What comes later of this flow must not be put before this packet.
        self._runs.pop(key, None)
        self._out.append(packet)

    def take(self) -> list[bytes]:
        """What all packets since the last call have become."""
        out = [item if isinstance(item, bytes) else item.finish() for item in self._out]
        self._out.clear()
        self._runs.clear()
        self.size = 0
        return out

    def _add_udp(self, packet: bytes, transport: int, key: bytes) -> bool:
        size = len(packet) - transport - UDP_HEADER_SIZE
        if size <= 0:
            return False
        alike = _alike(packet, transport)
        run = self._runs.get(key)
        if run is not None and run.alike == alike and size <= run.size:
            if not packet[0] & F_NEEDS_CSUM and not _is_sound(packet, transport, PROTOCOL_UDP):
                return False
            if _U16.unpack_from(packet, transport + 4)[0] != size + UDP_HEADER_SIZE:
                return False
            if run.total + size <= MAX_RUN and len(run.parts) + 1 < MAX_UDP_SEGMENTS:
                self._append(run, packet, key, size)
                return True
        if not self._may_begin(packet, transport, PROTOCOL_UDP):
            return False
        if _U16.unpack_from(packet, transport + 4)[0] != size + UDP_HEADER_SIZE:
            return False
        self._begin(_Run(packet, transport, transport + UDP_HEADER_SIZE, alike, 0, 0), key)
        return True

    def _add_tcp(self, packet: bytes, transport: int, key: bytes) -> bool:
        if len(packet) < transport + TCP_HEADER_SIZE:
            return False
        data = transport + (packet[transport + 12] >> 4) * 4
        size = len(packet) - data
        flags = packet[transport + 13]
        if size <= 0 or data < transport + TCP_HEADER_SIZE or flags & ~(_PSH | _ECE) != _ACK:
            return False
        # Acknowledgement number, header size; window; options.
        alike = _alike(packet, transport) + packet[transport + 8 : transport + 13]
        alike += packet[transport + 14 : transport + 16] + packet[transport + TCP_HEADER_SIZE : data]
        (sequence,) = _SEQUENCE.unpack_from(packet, transport)
        run = self._runs.get(key)
        if (
            run is not None
            and run.alike == alike
            and run.next_sequence == sequence
            and run.flags == flags & ~_PSH
            and size <= run.size
            and run.total + size <= MAX_RUN
            and len(run.parts) + 1 < MAX_TCP_SEGMENTS
        ):
            if not packet[0] & F_NEEDS_CSUM and not _is_sound(packet, transport, PROTOCOL_TCP):
                return False
            run.flags = flags
            run.next_sequence = sequence + size & 0xFFFFFFFF
            self._append(run, packet, key, size)
            return True
        if flags & _PSH or not self._may_begin(packet, transport, PROTOCOL_TCP):
            return False
        self._begin(_Run(packet, transport, data, alike, flags, sequence + size & 0xFFFFFFFF), key)
        return True

    def _may_begin(self, packet: bytes, transport: int, protocol: int) -> bool:
        if transport == _V4 and packet[HEADER_SIZE + 6 : HEADER_SIZE + 8] != _DONT_FRAGMENT:
            return False
        return bool(packet[0] & F_NEEDS_CSUM) or _is_sound(packet, transport, protocol)

    def _begin(self, run: _Run, key: bytes) -> None:
        self._runs[key] = run
        self._out.append(run)

    def _append(self, run: _Run, packet: bytes, key: bytes, size: int) -> None:
        run.parts.append(packet[run.data :])
        run.total += size
        if size < run.size or run.flags & _PSH:
            # Only the last may be shorter, or hurry.
            del self._runs[key]


def _alike(packet: bytes, transport: int) -> bytes:
    """What packets that are put together have in common in their IP headers: all but length and addresses."""
    if transport == _V4:
        return packet[HEADER_SIZE : HEADER_SIZE + 2] + packet[HEADER_SIZE + 6 : HEADER_SIZE + 10]
    return packet[HEADER_SIZE : HEADER_SIZE + 4] + packet[HEADER_SIZE + 6 : HEADER_SIZE + 8]


def _pseudo(packet: bytes, transport: int, protocol: int) -> int:
    if transport == _V4:
        source, destination = packet[HEADER_SIZE + 12 : HEADER_SIZE + 16], packet[HEADER_SIZE + 16 : _V4]
    else:
        source, destination = packet[HEADER_SIZE + 8 : HEADER_SIZE + 24], packet[HEADER_SIZE + 24 : _V6]
    return pseudo_header(source, destination, protocol)


def _is_sound(packet: bytes, transport: int, protocol: int) -> bool:
    """Whether a finished checksum is right, so that it may be made anew: a wrong one must stay wrong."""
    if packet[0] & F_DATA_VALID:
        return True
    offset = transport + CHECKSUM_OFFSETS[protocol]
    if packet[offset : offset + 2] == b"\0\0":
        return False  # none, in UDP over IPv4
    total = _pseudo(packet, transport, protocol) + len(packet) - transport + word_sum(packet[transport:])
    return total % 0xFFFF == 0
