"""A program that uses a SOCKS5 proxy, by hand."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

from nconnect.forward import socks5
from nconnect.forward.socks5 import Command, Reply, Target

from ..nkn.waiting import soon

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def request(port: int, command: int, target: Target) -> tuple[Reply, Target, Streams]:
    """The proxy's reply, the address in it, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x05\x01\x00")
    assert await soon(reader.readexactly(2)) == b"\x05\x00"
    writer.write(bytes([5, command, 0]) + socks5.encode_target(target))
    head = await soon(reader.readexactly(4))
    assert head[3] == socks5.IPV4
    rest = await soon(reader.readexactly(6))
    bound, _ = socks5.decode_target(memoryview(head[3:] + rest))
    return Reply(head[1]), bound, (reader, writer)


async def connect(port: int, to: int, host: str = "127.0.0.1") -> Streams:
    """A connection through the proxy to port `to` of a host."""
    reply, _, streams = await request(port, Command.CONNECT, target(host, to))
    assert reply is Reply.SUCCEEDED
    return streams


async def refusal(port: int, host: str, to: int = 80) -> Reply:
    """Why the proxy does not connect."""
    reply, _, (reader, writer) = await request(port, Command.CONNECT, target(host, to))
    assert await soon(reader.read()) == b""
    writer.close()
    return reply


def target(host: str, port: int) -> Target:
    try:
        return Target(ip_address(host), port)
    except ValueError:
        return Target(host, port)


class Datagrams(asyncio.DatagramProtocol):
    """A UDP socket whose datagrams can be awaited."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.transport: Any = None

    @classmethod
    async def open(cls, to: Any = None) -> Datagrams:
        local = None if to else ("127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        _, opened = await loop.create_datagram_endpoint(cls, local_addr=local, remote_addr=to)
        return opened

    @property
    def port(self) -> int:
        port: int = self.transport.get_extra_info("sockname")[1]
        return port

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.received.put_nowait((data, address))


class EchoHost(Datagrams):
    """Answers each datagram with itself."""

    def datagram_received(self, data: bytes, address: Any) -> None:
        super().datagram_received(data, address)
        self.transport.sendto(data, address)
