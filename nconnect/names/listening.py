"""The sockets of our resolver, on a loopback address of its own.

Made before the process gives up its capabilities: port 53, the only one that resolv.conf knows, needs one of
them. Without it another port does for all who can be told of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address

from nconnect.errors import HostError

NETWORK = "127.78.67."
"""A part of the loopback network (all of 127.0.0.0/8, RFC 1122 3.2.1.3) that is nobody's habit."""
ADDRESSES = range(1, 255)
PORT = 53
HIGH_PORT = 1053
"""Where port 53 is not allowed; not 5353, which is multicast DNS."""
MAX_TRIES = 8
"""Addresses that are tried: another instance may have one. If none is free, somebody has the port on all."""


@dataclass(frozen=True)
class Sockets:
    """Bound to one address and port, both not blocking; who gets them closes them."""

    udp: socket.socket
    tcp: socket.socket
    address: IPv4Address
    port: int

    def close(self) -> None:
        """Let go of both."""
        self.udp.close()
        self.tcp.close()


def bind(instance: str) -> Sockets:
    """Sockets for the resolver of an instance, at the same address each time if that is free.

    Raises:
        HostError: none can be had.
    """
    start = int.from_bytes(hashlib.sha256(instance.encode()).digest()[:4], "big")
    failure: OSError | None = None
    for port in (PORT, HIGH_PORT):
        for number in range(MAX_TRIES):
            host = f"{NETWORK}{ADDRESSES[(start + number) % len(ADDRESSES)]}"
            try:
                return _bind(host, port)
            except OSError as error:
                failure = error
            if failure.errno != errno.EADDRINUSE:
                break
    reason = os.strerror(failure.errno or 0) if failure else ""
    raise HostError(f"cannot answer names at {host}:{port}: {reason}")


def _bind(host: str, port: int) -> Sockets:
    udp, tcp = (socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM))
    try:
        # Connections of an instance that has just ended may linger.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (udp, tcp):
            one.setblocking(False)
            one.bind((host, port))
        tcp.listen()
    except OSError:
        udp.close()
        tcp.close()
        raise
    address, port = udp.getsockname()
    return Sockets(udp, tcp, IPv4Address(address), port)
