"""SOCKS5 as bytes (RFC 1928): targets, requests, replies, and the header of a relayed datagram.

::

    target    u8 type | address | u16be port     type 1: 4 bytes, 3: u8 length and a name, 4: 16 bytes
    request   u8 5 | u8 command | u8 0 | target
    reply     u8 5 | u8 code | u8 0 | target
    datagram  u16 0 | u8 fragment | target | payload
"""

from __future__ import annotations

import enum
import re
import struct
from asyncio import StreamReader
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from nconnect.errors import DecodeError

VERSION = 5
NO_AUTHENTICATION = 0
NO_ACCEPTABLE_METHOD = 0xFF

IPV4, DOMAIN, IPV6 = 1, 3, 4
MAX_DOMAIN = 255
"""Bytes of a name: what its length byte can say, and what DNS allows (RFC 1035, 2.3.4)."""

Host = IPv4Address | IPv6Address | str

_PORT = struct.Struct(">H")
# What host names have, and the underscore that service names have; anything else is a mistake or a trick.
_DOMAIN = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_DATAGRAM_PREFIX = bytes(3)


class Command(enum.IntEnum):
    """What a client asks for."""

    CONNECT = 1
    BIND = 2
    UDP_ASSOCIATE = 3


class Reply(enum.IntEnum):
    """How a request went (RFC 1928, 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect or send to: an address, or a name that the far end resolves."""

    host: Host
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else self.host
        return f"{host}:{self.port}"


NOWHERE = Target(IPv4Address(0), 0)
"""What a reply says where there is nothing to say."""


def encode_target(target: Target) -> bytes:
    """The bytes of `target`."""
    host = target.host
    if isinstance(host, str):
        name = host.encode("ascii")
        return bytes([DOMAIN, len(name)]) + name + _PORT.pack(target.port)
    return bytes([IPV4 if host.version == 4 else IPV6]) + host.packed + _PORT.pack(target.port)


def decode_target(data: memoryview) -> tuple[Target, memoryview]:
    """The target at the start of `data`, and what follows it.

    Raises:
        DecodeError: there is none, or a name that cannot be one.
    """
    start, size = 1, _address_size(data)
    if data and data[0] == DOMAIN:
        start = 2
    end = start + size
    if size == 0 or len(data) < end + _PORT.size:
        raise DecodeError("no SOCKS address where one should be")
    raw = bytes(data[start:end])
    host = _domain(raw) if data[0] == DOMAIN else ip_address(raw)
    return Target(host, _PORT.unpack_from(data, end)[0]), data[end + _PORT.size :]


def _address_size(data: memoryview) -> int:
    if len(data) < 2:
        return 0
    return {IPV4: 4, IPV6: 16, DOMAIN: data[1]}.get(data[0], 0)


def _domain(raw: bytes) -> str:
    text = raw.decode("ascii", "replace")
    if not _DOMAIN.fullmatch(text):
        raise DecodeError(f"{text!r} is not a host name")
    return text


def reply(code: Reply, bound: Target = NOWHERE) -> bytes:
    """The answer to a request."""
    return bytes([VERSION, code, 0]) + encode_target(bound)


def encode_datagram(source: Target, payload: bytes | memoryview) -> bytes:
    """A relayed datagram, as it is handed to the client."""
    return b"".join((_DATAGRAM_PREFIX, encode_target(source), payload))


def decode_datagram(data: bytes) -> tuple[Target, memoryview]:
    """Where a client's datagram goes, and its payload.

    Raises:
        DecodeError: it is none, or a fragment of one (which RFC 1928, 7 leaves optional).
    """
    view = memoryview(data)
    if len(view) < len(_DATAGRAM_PREFIX):
        raise DecodeError(f"a datagram of {len(view)} bytes has no SOCKS header")
    if view[2]:
        raise DecodeError("fragments of datagrams are not supported")
    return decode_target(view[len(_DATAGRAM_PREFIX) :])


async def read_greeting(reader: StreamReader) -> bytes:
    """The authentication methods that a client offers.

    Raises:
        DecodeError: it does not speak SOCKS5.
        asyncio.IncompleteReadError: it ended before its greeting did.
    """
    version, count = await reader.readexactly(2)
    if version != VERSION:
        raise DecodeError(f"the client does not speak SOCKS5 (its first byte is {version})")
    return await reader.readexactly(count)


async def read_request(reader: StreamReader) -> tuple[int, Target | None]:
    """A client's command and target; None for a target of a type that there is not.

    Raises:
        DecodeError: it is no request.
        asyncio.IncompleteReadError: it ended before its request did.
    """
    version, command, _, kind = await reader.readexactly(4)
    if version != VERSION:
        raise DecodeError(f"the client does not speak SOCKS5 (its request begins with {version})")
    if kind not in (IPV4, DOMAIN, IPV6):
        return command, None
    head = bytes([kind]) + await reader.readexactly(1)
    # The byte behind the type is the length of a name, or an address's first.
    rest = _address_size(memoryview(head)) - (kind != DOMAIN) + _PORT.size
    target, _ = decode_target(memoryview(head + await reader.readexactly(rest)))
    return command, target
