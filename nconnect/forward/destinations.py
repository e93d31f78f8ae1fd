"""Where a provider without a TUN device connects for its users: to what each was granted, and nowhere else.

What the gateway's firewall does for packets is done here for connections. A name is resolved once, here, and
what was checked is the address that is then connected to: a name cannot mean something else in between.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from nconnect.errors import RefusedError
from nconnect.forward.pipe import READ_SIZE, keep_alive
from nconnect.forward.socks5 import Reply, Target
from nconnect.host.firewall import FORBIDDEN_NETWORKS
from nconnect.host.grants import Target as Granted
from nconnect.tunnel.control import IPAddress, IPNetwork

CONNECT_TIMEOUT = 10.0
"""Seconds for a host of the LAN to answer, all its addresses together: TCP has asked four times by then."""
RESOLVE_TIMEOUT = 10.0
"""Seconds for a name: resolv.conf's default is two attempts of 5."""
RESOLVERS = 32
"""Threads that wait for names; they cost nothing while they wait. Users take few each (`Allowance`), so that
one who asks for names that nobody answers does not hold up the others."""

_REPLIES = {
    errno.ECONNREFUSED: Reply.CONNECTION_REFUSED,
    errno.ENETUNREACH: Reply.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: Reply.HOST_UNREACHABLE,
    errno.ETIMEDOUT: Reply.HOST_UNREACHABLE,
}


class Routes(Protocol):
    """What the kernel says; `nconnect.host.networks.Router`, or a test's."""

    def leads_away(self, address: IPAddress) -> bool: ...
    def close(self) -> None: ...


class Destinations:
    """What users may reach; `close` it, which closes `routes` too."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")

    def close(self) -> None:
        """Give up on names that are not resolved yet."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        self._routes.close()

    def allows(self, address: IPAddress, port: int, protocol: str, granted: Iterable[Granted]) -> bool:
        """Whether a user with these targets may reach this port.

        What is never served is not part of any network, and has to be named itself: this machine's own
        addresses, loopback, link-local, metadata and multicast.
        """
        matching = [target for target in granted if _matches(target, address, port, protocol)]
        if any(target.network.prefixlen == target.network.max_prefixlen for target in matching):
            return True
        return bool(matching) and not _is_in(address, FORBIDDEN_NETWORKS) and self._routes.leads_away(address)

    async def resolve(self, target: Target, protocol: str, granted: Iterable[Granted]) -> list[IPAddress]:
        """The addresses of `target` that a user with `granted` may reach, at least one.

        Raises:
            RefusedError: there is none; the code is a `Reply`.
        """
        if isinstance(target.host, str):
            found = await self._look_up(target.host)
        else:
            found = [target.host]
        # ::ffff:127.0.0.1 connects to 127.0.0.1, so it is looked at as such.
        allowed = [
            address
            for address in map(_unmapped, found)
            if self.allows(address, target.port, protocol, granted)
        ]
        if not allowed:
            raise RefusedError(Reply.NOT_ALLOWED, f"{target} is not granted")
        return allowed

    async def _look_up(self, name: str) -> list[IPAddress]:
        loop = asyncio.get_running_loop()
        look_up = loop.run_in_executor(self._resolvers, socket.getaddrinfo, name, None, 0, socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                answers = await look_up
        except (TimeoutError, OSError, UnicodeError) as error:
            raise RefusedError(Reply.HOST_UNREACHABLE, f"{name} cannot be resolved: {error}") from error
        # A scope ("%eth0") is of link-local addresses, which are not served.
        return [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]

    async def connect(
        self, addresses: Sequence[IPAddress], port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection to the first of `addresses` that answers.

        Raises:
            RefusedError: none does; the code is a `Reply`.
        """
        failure = RefusedError(Reply.HOST_UNREACHABLE, f"{addresses[0]} port {port} did not answer")
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                for address in addresses:
                    try:
                        reader, writer = await asyncio.open_connection(str(address), port, limit=READ_SIZE)
                    except OSError as error:
                        reply = _REPLIES.get(error.errno or 0, Reply.GENERAL_FAILURE)
                        failure = RefusedError(reply, f"{address} port {port}: {error.strerror or error}")
                        continue
                    keep_alive(writer)
                    return reader, writer
        except TimeoutError:
            pass
        raise failure


def _matches(target: Granted, address: IPAddress, port: int, protocol: str) -> bool:
    first, last = target.ports
    return address in target.network and target.protocol in ("", protocol) and first <= port <= last


def _is_in(address: IPAddress, prefixes: Sequence[IPNetwork]) -> bool:
    return any(address in prefix for prefix in prefixes)


def _unmapped(address: IPAddress) -> IPAddress:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
