"""What a program says to the SOCKS5 proxy: greeting, request, datagram; and a target between two of ours."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any, cast

from nconnect.errors import DecodeError
from nconnect.forward.socks5 import (
    Target,
    decode_datagram,
    decode_target,
    encode_datagram,
    encode_target,
    read_greeting,
    read_request,
)

# A program that hangs up in the middle is no finding.
ERRORS = (DecodeError, asyncio.IncompleteReadError)
TARGETS = (
    Target(ip_address("192.168.1.20"), 80),
    Target(ip_address("fd00::20"), 443),
    Target("printer.lan", 631),
)


class Reader:
    """A StreamReader at the end of its stream."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def readexactly(self, n: int) -> bytes:
        taken, self._data = self._data[:n], self._data[n:]
        if len(taken) < n:
            raise asyncio.IncompleteReadError(taken, n)
        return taken


def seeds() -> list[bytes]:
    connects = [b"\x05\x01\x00" + encode_target(target) for target in TARGETS]
    return [b"\x05\x01\x00" + connects[0], b"\x05\x02\x00\x02" + connects[1], connects[2]] + [
        encode_datagram(target, b"payload") for target in TARGETS
    ]


def run(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        target, payload = decode_datagram(data)
        assert encode_datagram(target, payload)[3:] == data[3:]
    with contextlib.suppress(DecodeError):
        target, rest = decode_target(memoryview(data))
        assert encode_target(target) + bytes(rest) == data
    finish(converse(cast(asyncio.StreamReader, Reader(data))))


async def converse(reader: asyncio.StreamReader) -> None:
    methods = await read_greeting(reader)
    assert len(methods) < 256
    _, target = await read_request(reader)
    if target is not None:
        assert decode_target(memoryview(encode_target(target)))[0] == target


def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits."""
    with contextlib.suppress(StopIteration):
        coroutine.send(None)
