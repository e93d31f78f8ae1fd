"""What a link carries between a SOCKS user and a provider: records, many in a batch.

::

    u32le length of what follows | u8 kind | u32le number | body

==  ========  ==========================  ========  =================================================
    kind      body                        number    meaning
==  ========  ==========================  ========  =================================================
1   OPEN      target                      stream    connect to it (only the user says so)
2   OPENED    u8 SOCKS reply code         stream    how that went (only the provider says so)
3   DATA      u64le offset, bytes         stream    bytes of the stream from that offset on
4   WINDOW    u64le offset                stream    the other side may send up to there
5   END       u64le offset                stream    the stream has that many bytes in this direction
6   RESET     –                           stream    broken off, in both directions
7   DATAGRAM  target, payload             flow      a datagram to (from the provider: from) the target
8   FORGET    –                           flow      no more datagrams of this flow
==  ========  ==========================  ========  =================================================

Targets have the form of SOCKS5 (`socks5`). Batches arrive once each, in any order, so nothing here depends on
order but bytes of a stream, which say their place. Each stream begins with a window of `WINDOW` bytes in both
directions. Kinds that are not known are skipped, so that versions can differ.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from nconnect.errors import DecodeError

WINDOW = 1 << 20
"""Bytes of one stream that may be on their way or wait to be read: 84 Mbit/s at 100 ms."""

_HEADER = struct.Struct("<IBI")
_OFFSET = struct.Struct("<Q")
_LENGTH_SIZE = 4
HEADER_SIZE = _HEADER.size
DATA_OVERHEAD = HEADER_SIZE + _OFFSET.size
"""Bytes of a DATA record that are not data."""
MAX_OFFSET = 2**63
"""More than any stream has; sums of two of them still fit everywhere."""


class Kind(enum.IntEnum):
    """What a record says."""

    OPEN = 1
    OPENED = 2
    DATA = 3
    WINDOW = 4
    END = 5
    RESET = 6
    DATAGRAM = 7
    FORGET = 8


class Record(NamedTuple):
    """A record as it came; `kind` may be one that is not known."""

    kind: int
    number: int
    body: memoryview


def encode(kind: Kind, number: int, body: bytes = b"") -> bytes:
    """The bytes of a record."""
    return _HEADER.pack(HEADER_SIZE - _LENGTH_SIZE + len(body), kind, number) + body


def encode_offset(kind: Kind, number: int, offset: int) -> bytes:
    """The bytes of a WINDOW or END."""
    return encode(kind, number, _OFFSET.pack(offset))


def data_head(number: int, offset: int, size: int) -> bytes:
    """What goes before `size` bytes of data."""
    length = DATA_OVERHEAD - _LENGTH_SIZE + size
    return _HEADER.pack(length, Kind.DATA, number) + _OFFSET.pack(offset)


def decode_offset(body: memoryview) -> int:
    """The offset at the start of a DATA, WINDOW or END.

    Raises:
        DecodeError: it is missing, or beyond what a stream can have.
    """
    if len(body) < _OFFSET.size:
        raise DecodeError(f"a record of {len(body)} bytes has no offset")
    offset: int = _OFFSET.unpack_from(body)[0]
    if offset >= MAX_OFFSET:
        raise DecodeError(f"a record has the offset {offset}")
    return offset


def decode_data(body: memoryview) -> tuple[int, memoryview]:
    """The offset and the bytes of a DATA."""
    return decode_offset(body), body[_OFFSET.size :]


def iter_records(batch: memoryview) -> Iterator[Record]:
    """The records of a batch, as views into it.

    Raises:
        DecodeError: it is cut off.
    """
    position, end = 0, len(batch)
    while position < end:
        if end - position < HEADER_SIZE:
            raise DecodeError(f"a batch ends in the head of a record: {end - position} bytes are left")
        length, kind, number = _HEADER.unpack_from(batch, position)
        body = position + HEADER_SIZE
        position += _LENGTH_SIZE + length
        if not body <= position <= end:
            raise DecodeError(f"a batch has a record of {length} bytes: {end - body} are left")
        yield Record(kind, number, batch[body:position])
