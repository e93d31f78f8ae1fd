"""nfnetlink, by which the parts of netfilter are asked and tell: messages, and the attributes in them.

Sources: linux/netlink.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nconnect.errors import HostError

NETLINK_NETFILTER = 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
ALIGNMENT = 4
DATAGRAM_SIZE = 1 << 16
"""Of dumps the kernel sends at most half of this at once."""

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
FAMILY = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
ERROR = struct.Struct("=i")  # nlmsgerr: a negative errno


def request(subsystem: int, kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    """A message to a part of netfilter; the type of its answers has the same `subsystem` << 8."""
    body = FAMILY.pack(family, 0, 0) + attributes
    return HEADER.pack(HEADER.size + len(body), subsystem << 8 | kind, NLM_F_REQUEST | flags, 0, 0) + body


def messages(datagram: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message in a datagram.

    Raises:
        HostError: it is none of the kernel's.
    """
    at = 0
    while at + HEADER.size <= len(datagram):
        length, kind, *_ = HEADER.unpack_from(datagram, at)
        if length < HEADER.size:
            raise HostError("what the kernel says of netfilter makes no sense")
        yield kind, datagram[at + HEADER.size : at + length]
        at += _aligned(length)


def error_number(body: bytes) -> int:
    """The errno in the body of an NLMSG_ERROR; 0: it went well."""
    number: int = -ERROR.unpack_from(body)[0]
    return number


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute, padded."""
    length = ATTRIBUTE.size + len(value)
    return ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def nested(kind: int, attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | NLA_F_NESTED, attributes)


def parse(data: bytes) -> dict[int, bytes]:
    """The attributes in `data`, by type."""
    found, at = dict[int, bytes](), 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size:
            break
        found[kind & NLA_TYPE_MASK] = data[at + ATTRIBUTE.size : at + length]
        at += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return length + -length % ALIGNMENT
