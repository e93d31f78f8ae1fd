"""TCP connections: marks, several addresses, and why there is none, in words for people."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from nconnect.errors import PrivilegeError
from nconnect.nkn import tcp
from nconnect.nkn.lookup import LOOKUP
from nconnect.nkn.tcp import SMALL_WRITE, Cork, connect_failure, connect_tcp, marked_socket

from .waiting import soon

CASES = [
    (
        ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 30003)"),
        "connection refused by seed.example:30003",
    ),
    (
        OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 30003)"),
        "no route to host (seed.example:30003)",
    ),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the name does not resolve"),
    (OSError("seed.example has no address"), "seed.example has no address"),
]


@pytest.mark.parametrize(("error", "words"), CASES)
def test_why_it_could_not_connect(error: OSError, words: str) -> None:
    assert connect_failure(error, "seed.example", 30003) == words


def test_marking_needs_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise PermissionError

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(PrivilegeError, match="CAP_NET_ADMIN"):
        marked_socket(socket.AF_INET, socket.SOCK_STREAM, 0, 1)
    marked_socket(socket.AF_INET, socket.SOCK_STREAM, 0, 0).close()


# --- several addresses ---

# TEST-NET-1 (RFC 5737): nobody is there, and nobody says so.
SILENT = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 9))


class Deaf:
    """`sock_connect` that gets no answer from `SILENT`, whatever this machine's routes are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._plain = loop.sock_connect

    async def __call__(self, made: socket.socket, address: tuple[str, int]) -> None:
        if address == SILENT[4]:
            await asyncio.Event().wait()
        await self._plain(made, address)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


async def test_an_address_that_says_nothing_holds_nobody_up(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    heard = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listening.getsockname())

    async def addresses(host: str, port: int) -> list[Any]:
        return [SILENT, heard]

    monkeypatch.setattr(LOOKUP, "addresses", addresses)
    monkeypatch.setattr(loop, "sock_connect", Deaf(loop))
    with await soon(connect_tcp("node.example", 9, 0)) as made:
        assert made.getpeername() == heard[4]


async def test_of_several_addresses_none_may_be_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> socket.socket:
        raise PrivilegeError("marking a socket (SO_MARK) needs root or CAP_NET_ADMIN")

    async def addresses(host: str, port: int) -> list[Any]:
        return [SILENT, SILENT]

    monkeypatch.setattr(tcp, "marked_socket", forbidden)
    monkeypatch.setattr(LOOKUP, "addresses", addresses)
    with pytest.raises(PrivilegeError):
        await soon(connect_tcp("node.example", 9, 1))


# --- small writes ---

# struct tcp_info of linux/tcp.h: tcpi_data_segs_out.
DATA_SEGMENTS_OUT = struct.Struct("=156xI")
WRITES = 100


@pytest.fixture
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection whose small writes the kernel does not hold back by itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with client, other:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        other.setblocking(False)
        yield client, other


def segments(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_OUT.size)
    (number,) = DATA_SEGMENTS_OUT.unpack(info)
    return int(number)


def write(cork: Cork, connection: socket.socket, size: int) -> None:
    cork.before_write(size)
    assert connection.send(bytes(size)) == size


async def receive(connection: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while size:
            size -= len(await loop.sock_recv(connection, size))


async def test_small_writes_of_one_turn_leave_together(
    connected: tuple[socket.socket, socket.socket],
) -> None:
    sender, receiver = connected
    cork = Cork(sender)
    for turn in 1, 2:
        for _ in range(WRITES):
            write(cork, sender, 100)
        await receive(receiver, WRITES * 100)
        # The first alone, the others in one or, if the turn took the kernel's patience, in some more.
        assert segments(sender) < turn * WRITES / 4


async def test_a_write_alone_leaves_at_once(connected: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = connected
    write(Cork(sender), sender, 100)
    assert len(receiver.recv(1000)) == 100


async def test_a_large_write_does_not_wait(connected: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = connected
    cork = Cork(sender)
    for _ in range(2):
        write(cork, sender, SMALL_WRITE + 1)
    assert len(receiver.recv(4 * SMALL_WRITE)) == 2 * (SMALL_WRITE + 1)


async def test_who_closed_meanwhile_is_left_alone(connected: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = connected
    cork = Cork(sender)
    for _ in range(2):
        write(cork, sender, 100)
    sender.close()
    await receive(receiver, 200)
