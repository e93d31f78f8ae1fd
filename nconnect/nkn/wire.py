"""Length prefixes: protobuf's varint, written by hand around large byte fields, and NKN's own ``varbytes``.

Why by hand: the protobuf runtime (upb) takes 390 µs to serialize the four nested messages around a session
packet of 128 KiB, because each level copies and grows its buffer; joining the same bytes once takes 3 µs.
Parsing has no such trouble (11 µs for all levels), so every message is parsed by the runtime.
"""

from __future__ import annotations

import functools
import struct


def varint(value: int) -> bytes:
    """Protobuf's base-128 encoding of a non-negative integer."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Full packets have one length: with the cache this costs nothing on the hot path.
@functools.lru_cache(maxsize=1024)
def field(number: int, length: int) -> bytes:
    """What precedes the content of a length-delimited protobuf field (wire type 2)."""
    return varint(number << 3 | 2) + varint(length)


def varbytes(data: bytes) -> bytes:
    """NKN's length-prefixed bytes (nknd ``common/serialization``), as they are hashed for a signature."""
    length = len(data)
    if length < 0xFD:
        return bytes((length,)) + data
    if length <= 0xFFFF:
        return b"\xfd" + struct.pack("<H", length) + data
    if length <= 0xFFFFFFFF:
        return b"\xfe" + struct.pack("<I", length) + data
    return b"\xff" + struct.pack("<Q", length) + data
