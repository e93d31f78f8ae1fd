"""A TCP connection on one side, a stream or an NKN session on the other: what comes in goes out."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Protocol

from nconnect.errors import NconnectError
from nconnect.nkn.session import Session

logger = logging.getLogger(__name__)

READ_SIZE = 64 * 1024
"""Bytes read at once, as the event loop reads from a socket. asyncio reads no more when twice that waits."""

FLUSH_TIMEOUT = 30.0
"""Seconds for a TCP peer to take the last bytes; one that reads no more would hold its socket for ever."""

KEEPALIVE = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""A TCP peer that vanished without a word is noticed after 2 minutes; Linux's default is 2 hours."""

_NO_LINGER = struct.pack("ii", 1, 0)


class Channel(Protocol):
    """The far side of a pipe."""

    half_close: bool
    """Whether one direction can end before the other."""

    async def read(self, n: int) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def write_eof(self) -> None: ...
    def abort(self) -> None: ...


class SessionChannel:
    """An NKN session as the far side. NCP knows no half-close: the end of one direction is that of both."""

    half_close = False

    def __init__(self, session: Session, traffic: Traffic) -> None:
        self._session = session
        self._traffic = traffic
        self.abort = session.abort

    async def read(self, n: int) -> bytes:
        data = await self._session.read(n)
        self._traffic.received += len(data)
        return data

    async def write(self, data: bytes) -> None:
        await self._session.write(data)
        self._traffic.sent += len(data)

    async def write_eof(self) -> None:
        """End the session once the peer has read what was written."""
        await self._session.close()


class Traffic:
    """What went through sessions so far, in bytes."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, channel: Channel) -> None:
    """Copy both ways until both directions have ended, or either breaks.

    Without half-close the first end ends both, once what was written before it has arrived; nkn-tunnel too.
    A channel that breaks becomes a reset of the TCP connection, and the other way round, so that half a file
    does not look like a whole one.
    """
    whole = False
    try:
        async with asyncio.TaskGroup() as group:
            up = group.create_task(_up(reader, channel))
            group.create_task(_down(channel, writer, up))
        whole = True
    except* (NconnectError, OSError) as errors:
        logger.debug("a connection broke: %s", errors.exceptions[0])
    finally:
        channel.abort()
        if not whole:
            reset(writer)
    if whole:
        await _close(writer)


async def _up(reader: asyncio.StreamReader, channel: Channel) -> None:
    while data := await reader.read(READ_SIZE):
        await channel.write(data)
    await channel.write_eof()


async def _down(channel: Channel, writer: asyncio.StreamWriter, up: asyncio.Task[None]) -> None:
    while data := await channel.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    if not channel.half_close:
        up.cancel()
    elif not writer.is_closing():
        writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(FLUSH_TIMEOUT):
            await writer.wait_closed()
    except TimeoutError:
        _abort(writer)
    except OSError as error:
        logger.debug("the last bytes of a connection were lost: %s", error)


def keep_alive(writer: asyncio.StreamWriter) -> None:
    """Have the kernel notice that the TCP peer is gone."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a TCP reset."""
    # Of one that is closing, the descriptor may be another socket's already.
    if not writer.is_closing():
        _abort(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
