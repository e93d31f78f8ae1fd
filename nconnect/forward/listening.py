"""Where programs of this machine connect to."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address

from nconnect.errors import HostError
from nconnect.forward.pipe import READ_SIZE

LOCALHOST = "localhost"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach what listens at `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == LOCALHOST


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


async def listen(host: str, port: int, serve: Serve) -> asyncio.Server:
    """Take the port; nobody is accepted before `start_serving`.

    Raises:
        HostError: it cannot be had.
    """
    try:
        return await asyncio.start_server(serve, host, port, limit=READ_SIZE, start_serving=False)
    except OSError as error:
        raise HostError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


async def listen_datagrams(host: str, port: int, protocol: asyncio.DatagramProtocol) -> None:
    """Hand the datagrams that come to the port to `protocol`, which owns the socket from then on.

    Raises:
        HostError: the port cannot be had.
    """
    loop = asyncio.get_running_loop()
    try:
        await loop.create_datagram_endpoint(lambda: protocol, local_addr=(host, port))
    except OSError as error:
        raise HostError(f"cannot listen on {host}:{port}/udp: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Without the address, which asyncio puts into the text of the error and we say ourselves."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)
