"""A provider with its users and its LAN in namespaces, for the tests of grants.

::

     users                         provider                            lan
    ┌──────────────────────┐ veth ┌──────────────────────────┐ veth ┌─────────────────────────┐
    │ 100.64.9.2, fd09::2… ├──────┤ nc0          192.168.0.1 ├──────┤ 192.168.0.20   fd77::20 │
    │ a lease each         │      │ 100.64.9.1       fd77::1 │      │ 10.66.0.1               │
    └──────────────────────┘      │ fd09::1                  │      │ 169.254.169.254         │
                                  └──────────────────────────┘      └─────────────────────────┘

The link on the left stands for the overlay. All users are in one namespace, whose own packets leave by the
link wherever they go, to another user's address or to loopback too. In each namespace something echoes at
two ports, over TCP and UDP.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from nconnect.host.grants import ALL_PORTS, Target
from nconnect.host.plans import gateway_state
from nconnect.host.state import HostManager
from nconnect.host.user_rules import Mapping, UserRules

from .namespaces import Netns, sh, veth, write_sysctl

MTU = 1500
PORTS = (7001, 7002)
ANSWER_SECONDS = 1.5
"""A connection that is not refused and not answered until then is one that nobody let through. Each test
also has some that are answered, in milliseconds."""

# Both ends of the overlay have one hardware address and ask nobody for another: as on a TUN device, nothing
# is said but what users say.
OVERLAY = """
ip link set {0} down; ip link set {0} address 02:00:00:00:00:01 arp off addrgenmode none; ip link set {0} up
"""
USERS = """
ip rule add pref 10 iif lo lookup 100; ip rule add pref 20 lookup local; ip rule del pref 0
ip -6 rule add pref 10 iif lo lookup 100; ip -6 rule add pref 20 lookup local; ip -6 rule del pref 0
ip route add default dev users0 table 100; ip -6 route add default dev users0 table 100
"""


@dataclass(frozen=True)
class User:
    number: int
    targets: tuple[Target, ...]

    @property
    def addresses(self) -> tuple[str, str]:
        return f"100.64.9.{self.number}", f"fd09::{self.number}"

    def rules(self, *targets: Target, rate: int = 0) -> UserRules:
        return UserRules(tuple(map(ip_address, self.addresses)), targets or self.targets, rate)


def target(text: str, protocol: str = "", port: int = 0) -> Target:
    ports = (port, port) if port else ALL_PORTS
    return Target(ip_network(text), protocol, ports)


PLACES = {
    "lan host": ("192.168.0.20", "fd77::20"),
    "beyond the lan": ("10.66.0.1", "fd88::1"),
    "provider": ("192.168.0.1", "fd77::1"),
    "gateway": ("100.64.9.1", "fd09::1"),
    "loopback": ("127.0.0.1", "::1"),
    "metadata": ("169.254.169.254", "fd00:ec2::254"),
    "other user": ("100.64.9.2", "fd09::2"),
}
USERS_OF_TESTS = {
    "one service": User(
        2,
        (
            target("192.168.0.20/32", "tcp", PORTS[0]),
            target("192.168.0.20/32", "udp", PORTS[1]),
            target("fd77::20/128", "tcp", PORTS[0]),
            target("fd77::20/128", "udp", PORTS[1]),
        ),
    ),
    "the lan": User(3, (target("192.168.0.0/24"), target("fd77::/64"))),
    "tcp on the lan": User(4, (target("192.168.0.0/24", "tcp"), target("fd77::/64", "tcp"))),
    "everything": User(5, (target("0.0.0.0/0"), target("::/0"))),
    "by name": User(
        6,
        (
            *(target(one, "tcp", PORTS[0]) for one in PLACES["provider"]),
            *(target(one, "udp", PORTS[1]) for one in PLACES["gateway"]),
            *(target(one) for one in (*PLACES["metadata"], *PLACES["other user"], *PLACES["loopback"])),
        ),
    ),
    "nothing": User(7, ()),
}

OPEN, REFUSED, NOTHING = "o", "r", "-"
# For each place: TCP to the first port and the second, UDP to the first and the second.
ALL_OPEN, ALL_REFUSED, SILENCE = OPEN * 4, REFUSED * 4, NOTHING * 4
EXPECTED = {
    "one service": {"lan host": "orro"},
    "the lan": {"lan host": ALL_OPEN},
    "tcp on the lan": {"lan host": "oorr"},
    "everything": {"lan host": ALL_OPEN, "beyond the lan": ALL_OPEN},
    "by name": {
        "provider": "orrr",
        "gateway": "rrro",
        "metadata": ALL_OPEN,
        "other user": ALL_OPEN,
        # Accepted, and thrown away later: the kernel takes loopback addresses from no link.
        "loopback": SILENCE,
    },
    "nothing": {},
}

# Each place by another address with the same last byte, as somebody may call it whose own network has it.
MAPPINGS = tuple(
    Mapping(ip_network(real), ip_network(seen))
    for real, seen in (
        ("192.168.0.0/24", "10.201.0.0/24"),
        ("10.66.0.1/32", "10.201.1.1/32"),
        ("100.64.9.0/24", "10.201.2.0/24"),
        ("169.254.0.0/16", "10.202.0.0/16"),
        ("fd77::/64", "fd6e::/64"),
        ("fd88::1/128", "fd6e:1::1/128"),
        ("fd09::/64", "fd6e:2::/64"),
        ("fd00:ec2::/64", "fd6e:3::/64"),
    )
)
MAPPED_PLACES = {
    "lan host": ("10.201.0.20", "fd6e::20"),
    "beyond the lan": ("10.201.1.1", "fd6e:1::1"),
    "provider": ("10.201.0.1", "fd6e::1"),
    "gateway": ("10.201.2.1", "fd6e:2::1"),
    "metadata": ("10.202.169.254", "fd6e:3::254"),
    "other user": ("10.201.2.2", "fd6e:2::2"),
}


def expected(name: str) -> dict[str, tuple[str, str]]:
    """What a user of USERS_OF_TESTS meets in each place, with IPv4 and with IPv6."""
    granted = EXPECTED[name]
    both = {place: (granted.get(place, ALL_REFUSED),) * 2 for place in PLACES}
    # A reset with the address 127.0.0.1 goes nowhere, and a packet to ::1 does not get as far as our table.
    both["loopback"] = (granted.get("loopback", NOTHING * 2 + REFUSED * 2), SILENCE)
    return both


@dataclass
class Site:
    """The provider's namespace, in which the test runs, with its manager; and the other two."""

    users: Netns
    lan: Netns
    manager: HostManager

    def allow(self, *users: User) -> None:
        self.manager.change_users([user.rules() for user in users])

    def revoke(self, *users: User) -> None:
        self.manager.change_users(remove=[ip_address(user.addresses[0]) for user in users])

    def socket(self, kind: int, source: str) -> socket.socket:
        """A user's socket, bound to `source`."""
        with self.users.inside():
            sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((source, 0))
        sock.setblocking(False)
        return sock

    async def tries(self, source: str, place: str) -> str:
        """What comes of a connection from `source` to each port of `place`, a letter each."""
        cells = [
            self._try(kind, source, place, port)
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
            for port in PORTS
        ]
        return "".join(await asyncio.gather(*cells))

    async def _try(self, kind: int, source: str, place: str, port: int) -> str:
        with self.socket(kind, source) as sock:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, (place, port))
                    return OPEN if await echoes(sock) else NOTHING
            except TimeoutError:
                return NOTHING
            except OSError:
                return REFUSED

    async def all_tries(
        self, *sources: str, places: dict[str, tuple[str, str]] = PLACES
    ) -> dict[str, tuple[str, str]]:
        """What comes of connections to each place from an IPv4 and an IPv6 address."""
        cells = [self.tries(source, places[name][i]) for name in places for i, source in enumerate(sources)]
        found = iter(await asyncio.gather(*cells))
        return {name: (next(found), next(found)) for name in places}


async def echoes(sock: socket.socket) -> bool:
    """A datagram is sent again after a while: nobody else does if a queue of the kernel was full."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"hello")
    if sock.type == socket.SOCK_DGRAM:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS / 2):
                return await loop.sock_recv(sock, 100) == b"hello"
        await loop.sock_sendall(sock, b"hello")
    return await loop.sock_recv(sock, 100) == b"hello"


def listeners(*addresses: str) -> list[socket.socket]:
    """For each address, TCP and UDP at both ports, in the namespace of this thread."""
    found = []
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for port in PORTS:
                found.append(sock := socket.socket(family, kind))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, port))
    return found


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1000):
            writer.write(data)
    writer.close()


@contextlib.asynccontextmanager
async def echoing(sockets: list[socket.socket]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for sock in sockets:
            if sock.type == socket.SOCK_STREAM:
                await stack.enter_async_context(await asyncio.start_server(echo_stream, sock=sock))
            else:
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, sock=sock)
                stack.callback(transport.close)
        yield


@pytest.fixture
def site(netns: Netns, tmp_path: Path) -> Iterator[Site]:
    with Netns() as users, Netns() as lan, HostManager(tmp_path / "home.journal") as manager:
        veth(netns, "nc0", users, "users0")
        veth(netns, "lan0", lan, "eth0")
        sh(OVERLAY.format("nc0"))
        users.sh(OVERLAY.format("users0") + USERS)
        sh("ip addr add 192.168.0.1/24 dev lan0; ip addr add fd77::1/64 dev lan0")
        for place in (*PLACES["beyond the lan"], *PLACES["metadata"]):
            sh(f"ip route add {place} via {'fd77::20' if ':' in place else '192.168.0.20'}")
            lan.sh(f"ip addr add {place} dev eth0")
        lan.sh("ip addr add 192.168.0.20/24 dev eth0; ip addr add fd77::20/64 dev eth0")
        for number in range(2, 10):
            users.sh(f"ip addr add 100.64.9.{number} dev users0; ip addr add fd09::{number} dev users0")
        with users.inside():
            write_sysctl("net/ipv4/conf/users0/accept_local", "1")
            write_sysctl("net/ipv4/conf/users0/route_localnet", "1")
        # A refusal for each packet, where a user would be told once a second.
        write_sysctl("net/ipv4/icmp_ratelimit", "0")
        write_sysctl("net/ipv6/icmp/ratelimit", "0")
        # And of all together: fifty at once. On older kernels that is the machine's, not this namespace's.
        for name in ("icmp_msgs_per_sec", "icmp_msgs_burst"):
            with contextlib.suppress(FileNotFoundError):
                write_sysctl(f"net/ipv4/{name}", "100000")
        own = [ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64")]
        manager.apply(gateway_state("home", "nc0", MTU, own))
        yield Site(users, lan, manager)


@pytest_asyncio.fixture
async def echoes_everywhere(site: Site) -> AsyncIterator[None]:
    sockets = listeners(*PLACES["provider"], *PLACES["gateway"], *PLACES["loopback"])
    with site.users.inside():
        sockets += listeners(*PLACES["other user"])
    with site.lan.inside():
        sockets += listeners(*PLACES["lan host"], *PLACES["beyond the lan"], *PLACES["metadata"])
    async with echoing(sockets):
        yield


async def echo_of(sock: socket.socket) -> str:
    """What comes back for a word that is said over an open connection."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return OPEN if await echoes(sock) else NOTHING
    except TimeoutError:
        return NOTHING
    except OSError:
        return REFUSED
