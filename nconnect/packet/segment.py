"""What a kernel without offloads would have sent: plain packets, cut to size, with all checksums done.

For a peer that takes no virtio headers, and for the rare packet that `virtio.check` does not let through.
`split` only makes super-packets smaller, so that on a slow path others get in between.
After tcp_gso_segment, __udp_gso_segment, inet_gso_segment and skb_checksum_help of the Linux kernel.
"""

from __future__ import annotations

import struct

from nconnect.errors import DecodeError

from .checksum import complement, pseudo_header, word_sum
from .ip import addresses
from .virtio import (
    CHECKSUM_OFFSETS,
    F_NEEDS_CSUM,
    GSO_NONE,
    GSO_UDP_L4,
    HEADER_SIZE,
    IPV6_HEADER_SIZE,
    PLAIN,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    TCP_HEADER_SIZE,
    UDP_HEADER_SIZE,
    Header,
    check_gso,
    decode,
)

# Where the fields lie that differ from segment to segment, in bytes from the start of their header.
_IPV4_LENGTH = 2
_IPV4_ID = 4
_IPV4_CHECKSUM = 10
_IPV6_LENGTH = 4
_TCP_SEQUENCE = 4
_TCP_DATA_OFFSET = 12
_TCP_FLAGS = 13
_UDP_LENGTH = 4

# The last segment ends the conversation or the burst; the first answers a congestion mark (RFC 3168, 6.1.2).
_TCP_FIN_PSH = 0x01 | 0x08
_TCP_CWR = 0x80

_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")


def segment(packet: bytes | bytearray | memoryview) -> list[bytes]:
    """The packets that `packet` stands for, each behind a plain virtio header.

    A super-packet is cut, a partial checksum is completed, a plain packet comes back as it is.
    DecodeError when the virtio header does not fit the packet behind it.
    """
    view = memoryview(packet)
    header = decode(view)
    addresses(view)
    if header.hdr_len > len(view) - HEADER_SIZE:
        raise DecodeError(f"virtio header: {header.hdr_len} bytes of headers in {len(view) - HEADER_SIZE}")
    if header.gso_type != GSO_NONE:
        return _cut(view, header)
    if header.flags & F_NEEDS_CSUM:
        return [_complete(view, header)]
    return [PLAIN + view[HEADER_SIZE:]]


def split(packet: bytes, limit: int) -> list[bytes]:
    """The super-packets that together are `packet`, each of at most `limit` bytes if its segments allow.

    They are cut where the segments end, so the receiver's kernel makes the same segments of them. Other
    packets come back as they are. `packet` has passed `virtio.check`; DecodeError if it had not.
    """
    view = memoryview(packet)
    header = decode(view)
    if header.gso_type == GSO_NONE or len(packet) <= limit:
        return [packet]
    addresses(view)
    return _cut(view, header, limit)


def _ip_header_size(view: memoryview | bytearray) -> int:
    return (view[HEADER_SIZE] & 15) * 4 if view[HEADER_SIZE] >> 4 == 4 else IPV6_HEADER_SIZE


def _finished(total: int) -> int:
    """The checksum field for a sum: never 0, which would say "none" in UDP; all ones mean the same number."""
    return complement(total) or 0xFFFF


def _complete(view: memoryview, header: Header) -> bytes:
    """Finish the checksum: its field holds the pseudo header's sum, so it is summed with the rest."""
    start = HEADER_SIZE + header.csum_start
    field = start + header.csum_offset
    if header.csum_start < _ip_header_size(view) or field + _U16.size > len(view):
        raise DecodeError(f"virtio header: no checksum can be at {header.csum_start}+{header.csum_offset}")
    whole = bytearray(view)
    whole[:HEADER_SIZE] = PLAIN
    _U16.pack_into(whole, field, _finished(word_sum(view[start:])))
    return bytes(whole)


def _cut(view: memoryview, header: Header, limit: int = 0) -> list[bytes]:
    """The segments; with a `limit` pieces of as many segments as fit, whose checksums stay partial."""
    version = view[HEADER_SIZE] >> 4
    protocol = PROTOCOL_UDP if header.gso_type == GSO_UDP_L4 else PROTOCOL_TCP
    transport, data = _find_headers(view, header, protocol)
    check_gso(header.gso_type, header.gso_size, len(view) - data, version, protocol)

    count = max(1, (limit - data) // header.gso_size) if limit else 1
    step = header.gso_size * count
    head = bytearray(view[:data])
    if limit:
        # The kernel's hdr_len is what lies together in its memory: after receive offload headers and a whole
        # segment, more than the last piece may have.
        header = header._replace(hdr_len=data - HEADER_SIZE)
        head[:HEADER_SIZE] = header.encode()
    else:
        head[:HEADER_SIZE] = PLAIN
    pseudo = pseudo_header(*addresses(view), protocol)
    (identification,) = _U16.unpack_from(head, HEADER_SIZE + _IPV4_ID)
    (sequence,) = _U32.unpack_from(head, transport + _TCP_SEQUENCE)
    flags = head[transport + _TCP_FLAGS] if protocol == PROTOCOL_TCP else 0
    field = transport + CHECKSUM_OFFSETS[protocol]
    segments = []
    for index, at in enumerate(range(data, len(view), step)):
        chunk = view[at : at + step]
        length = data + len(chunk) - transport
        if version == 4:
            _write_ipv4(head, data + len(chunk) - HEADER_SIZE, identification + index * count)
        else:
            _U16.pack_into(
                head, HEADER_SIZE + _IPV6_LENGTH, data + len(chunk) - HEADER_SIZE - IPV6_HEADER_SIZE
            )
        if protocol == PROTOCOL_TCP:
            last = at + len(chunk) == len(view)
            dropped = (_TCP_CWR if index else 0) | (0 if last else _TCP_FIN_PSH)
            _write_tcp(head, transport, sequence + at - data, flags & ~dropped)
        else:
            _U16.pack_into(head, transport + _UDP_LENGTH, length)
        if limit:
            if len(chunk) <= header.gso_size:
                head[:HEADER_SIZE] = header._replace(gso_type=GSO_NONE, hdr_len=0, gso_size=0).encode()
            _U16.pack_into(head, field, (pseudo + length) % 0xFFFF)
        else:
            _U16.pack_into(head, field, 0)
            total = pseudo + length + word_sum(head[transport:]) + word_sum(chunk)
            _U16.pack_into(head, field, _finished(total))
        segments.append(b"".join((head, chunk)))
    return segments


def _find_headers(view: memoryview, header: Header, protocol: int) -> tuple[int, int]:
    """Where in `view` the TCP or UDP header begins, and where its payload does."""
    ip_header = _ip_header_size(view)
    # IPv6 extension headers may lie between the IP header and what csum_start points at.
    start = header.csum_start if header.flags & F_NEEDS_CSUM else ip_header
    transport = HEADER_SIZE + start
    least = TCP_HEADER_SIZE if protocol == PROTOCOL_TCP else UDP_HEADER_SIZE
    if start < ip_header or transport + least > len(view):
        raise DecodeError(
            f"virtio header: no TCP or UDP header to cut at {start} of {len(view) - HEADER_SIZE}"
        )
    size = least if protocol == PROTOCOL_UDP else (view[transport + _TCP_DATA_OFFSET] >> 4) * 4
    if size < least or transport + size > len(view):
        raise DecodeError(f"TCP header of {size} bytes in {len(view) - transport}")
    return transport, transport + size


def _write_ipv4(head: bytearray, length: int, identification: int) -> None:
    _U16.pack_into(head, HEADER_SIZE + _IPV4_LENGTH, length)
    _U16.pack_into(head, HEADER_SIZE + _IPV4_ID, identification & 0xFFFF)
    _U16.pack_into(head, HEADER_SIZE + _IPV4_CHECKSUM, 0)
    ip_end = HEADER_SIZE + _ip_header_size(head)
    _U16.pack_into(head, HEADER_SIZE + _IPV4_CHECKSUM, complement(word_sum(head[HEADER_SIZE:ip_end])))


def _write_tcp(head: bytearray, transport: int, sequence: int, flags: int) -> None:
    _U32.pack_into(head, transport + _TCP_SEQUENCE, sequence & 0xFFFFFFFF)
    head[transport + _TCP_FLAGS] = flags
