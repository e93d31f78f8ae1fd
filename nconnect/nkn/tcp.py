"""TCP connections to seeds and nodes: outside any tunnel, to that address of a name which answers first; and
how to write to them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

from aiohappyeyeballs import AddrInfoType, start_connection

from nconnect.errors import PrivilegeError
from nconnect.nkn.lookup import LOOKUP

NEXT_ADDRESS_DELAY = 0.25
"""Seconds that an address has before the next one is tried beside it: where IPv6 leads nowhere, nobody waits
for it to time out (RFC 8305, 8, Connection Attempt Delay)."""
# Bytes that the kernel takes beyond what is under way (tcp(7) TCP_NOTSENT_LOWAT). Its send buffer grows to
# megabytes otherwise, where a full path looks free.
NOTSENT_LOWAT = 128 * 1024
# Bytes of a write that is worth waiting for others: larger ones fill segments by themselves.
SMALL_WRITE = 8 * 1024


def marked_socket(family: int, kind: int, protocol: int, mark: int) -> socket.socket:
    """A non-blocking socket with ``SO_MARK`` (socket(7)); no mark if it is 0.

    PrivilegeError without the right to set it.
    """
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    if mark:
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        except PermissionError as error:
            made.close()
            raise PrivilegeError("marking a socket (SO_MARK) needs root or CAP_NET_ADMIN") from error
    return made


async def connect_tcp(host: str, port: int, mark: int) -> socket.socket:
    """Connect to the first address of ``host`` that answers; OSError if none does."""
    forbidden: list[PrivilegeError] = []

    def make(address: AddrInfoType) -> socket.socket:
        try:
            made = marked_socket(*address[:3], mark)
        except PrivilegeError as error:
            # Of other errors than the network's who tries all addresses says nothing.
            forbidden.append(error)
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from error
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
        return made

    addresses = list(await LOOKUP.addresses(host, port))
    if not addresses:
        raise OSError(f"{host} has no address")
    try:
        return await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_DELAY, socket_factory=make)
    except OSError:
        if forbidden:
            raise forbidden[0] from None
        raise


class Cork:
    """Has the kernel send small writes that are made in one turn of the event loop together.

    Each of them would cost a segment, and the other side a wake-up: on one machine five times what the write
    itself does. The first of a turn goes out at once, and none waits for longer than the turn lasts (tcp(7)
    TCP_CORK).
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._writes = 0

    def before_write(self, size: int) -> None:
        """To be called before each write of ``size`` bytes."""
        if size > SMALL_WRITE:
            return
        self._writes += 1
        if self._writes == 1:
            self._loop.call_soon(self._end_turn)
        elif self._writes == 2:
            self._set(True)

    def _end_turn(self) -> None:
        if self._writes > 1:
            self._set(False)
        self._writes = 0

    def _set(self, on: bool) -> None:
        # It may have been closed meanwhile, or have become something else than TCP's.
        with contextlib.suppress(OSError):
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, on)


def connect_failure(error: OSError, host: str, port: int | None) -> str:
    """Why a TCP connection could not be made, for people: event loops word it for programmers."""
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    if error.errno == errno.ECONNREFUSED:
        return f"connection refused by {host}:{port}"
    # asyncio's own wording hides the reason: "Connect call failed ('192.0.2.1', 30003)".
    if error.errno is not None and "Connect call failed" in str(error):
        return f"{os.strerror(error.errno).lower()} ({host}:{port})"
    return error.strerror or str(error)
