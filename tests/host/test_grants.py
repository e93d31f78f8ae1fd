"""Grants against a real kernel: who reaches what, told by real connections.

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
import json
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from nconnect.errors import ConfigError
from nconnect.host import userchains
from nconnect.host.grants import ALL_PORTS, Mapping, Target, UserRules
from nconnect.host.plans import gateway_state
from nconnect.host.state import HostManager

from .namespaces import Netns, sh, veth, write_sysctl

pytestmark = pytest.mark.netns

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
    loop = asyncio.get_running_loop()
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


@pytest.mark.usefixtures("echoes_everywhere")
class TestMatrix:
    """Each cell from a real connection."""

    @pytest.mark.parametrize("name", USERS_OF_TESTS)
    async def test_what_is_granted_is_open_and_all_else_refused(self, site: Site, name: str) -> None:
        site.allow(*USERS_OF_TESTS.values())
        assert await site.all_tries(*USERS_OF_TESTS[name].addresses) == expected(name)

    @pytest.mark.parametrize("name", USERS_OF_TESTS)
    async def test_who_is_removed_gets_no_answer_and_the_others_notice_nothing(
        self, site: Site, name: str
    ) -> None:
        site.allow(*USERS_OF_TESTS.values())
        site.revoke(USERS_OF_TESTS[name])
        found = await site.all_tries(*USERS_OF_TESTS[name].addresses)
        assert found == dict.fromkeys(PLACES, (SILENCE, SILENCE))
        other = "the lan" if name != "the lan" else "everything"
        assert await site.all_tries(*USERS_OF_TESTS[other].addresses) == expected(other)

    @pytest.mark.parametrize(
        "sources",
        [
            pytest.param(User(9, ()).addresses, id="not-leased"),
            pytest.param(("192.168.0.55", "fd77::55"), id="of-the-lan"),
            pytest.param(("192.168.0.1", "fd77::1"), id="of-the-provider"),
            pytest.param(("203.0.113.9", "2001:db8::9"), id="of-the-internet"),
        ],
    )
    async def test_a_source_that_was_not_leased_gets_no_answer(
        self, site: Site, sources: tuple[str, str]
    ) -> None:
        """Another user's leased address is for the pump to tell: it knows from whom a packet comes."""
        site.allow(*USERS_OF_TESTS.values())
        for source in sources:
            site.users.sh(f"ip addr replace {source} dev users0" + " nodad" * (":" in source))
        assert await site.all_tries(*sources) == dict.fromkeys(PLACES, (SILENCE, SILENCE))
        assert await site.tries("100.64.9.3", "192.168.0.20") == ALL_OPEN

    @pytest.mark.parametrize("place", PLACES["lan host"])
    async def test_errors_of_the_lan_come_back_to_a_grant_of_one_port(self, site: Site, place: str) -> None:
        """Nobody listens there; who is not granted the port is told something else."""
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([user.rules(target(place, "udp", 9), target(place, "tcp", 9))])
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            source = user.addresses[":" in place]
            with site.socket(kind, source) as sock, pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(sock, (place, 9))
                await echoes(sock)

    @pytest.mark.parametrize("version", [4, 6])
    async def test_open_connections_are_judged_by_the_new_grant(self, site: Site, version: int) -> None:
        """Those that it still allows go on."""
        user, place = USERS_OF_TESTS["the lan"], PLACES["lan host"][version == 6]
        site.allow(user)
        connections = {}
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            for port in PORTS:
                sock = connections[kind, port] = site.socket(kind, user.addresses[version == 6])
                await asyncio.get_running_loop().sock_connect(sock, (place, port))
                assert await echo_of(sock) == OPEN
        kept = (
            Target(ip_network(place), "tcp", (PORTS[0], PORTS[0])),
            Target(ip_network(place), "udp", (PORTS[1], PORTS[1])),
        )
        site.manager.change_users([user.rules(*kept)])
        found = {key: await echo_of(sock) for key, sock in connections.items()}
        assert "".join(found.values()) == "orro"
        site.revoke(user)
        assert await echo_of(connections[socket.SOCK_STREAM, PORTS[0]]) == NOTHING
        assert await echo_of(connections[socket.SOCK_DGRAM, PORTS[1]]) == NOTHING
        for sock in connections.values():
            sock.close()


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


@pytest.mark.usefixtures("echoes_everywhere")
class TestMappings:
    """Prefixes by other names, whose users may reach what they may reach anyway."""

    @pytest.mark.parametrize("name", USERS_OF_TESTS)
    async def test_grants_are_about_real_addresses(self, site: Site, name: str) -> None:
        user = USERS_OF_TESTS[name]
        site.allow(*USERS_OF_TESTS.values())
        site.manager.change_users([replace(user.rules(), mappings=MAPPINGS)])
        wanted = {place: expected(name)[place] for place in MAPPED_PLACES}
        assert await site.all_tries(*user.addresses, places=MAPPED_PLACES) == wanted
        # The real ones go on to mean what they mean.
        assert await site.all_tries(*user.addresses) == expected(name)

    async def test_nobody_elses_packets_are_translated(self, site: Site) -> None:
        one, other = USERS_OF_TESTS["the lan"], USERS_OF_TESTS["tcp on the lan"]
        site.allow(other)
        site.manager.change_users([replace(one.rules(), mappings=MAPPINGS)])
        found = await site.all_tries(*other.addresses, places=MAPPED_PLACES)
        assert found == dict.fromkeys(MAPPED_PLACES, (ALL_REFUSED, ALL_REFUSED))

    async def test_one_that_is_withdrawn_ends_its_connections(self, site: Site) -> None:
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([replace(user.rules(), mappings=MAPPINGS)])
        with site.socket(socket.SOCK_STREAM, user.addresses[0]) as sock:
            await asyncio.get_running_loop().sock_connect(sock, (MAPPED_PLACES["lan host"][0], PORTS[0]))
            assert await echo_of(sock) == OPEN
            site.allow(user)
            assert await echo_of(sock) == REFUSED

    async def test_another_mapping_leaves_connections_alone(self, site: Site) -> None:
        """Also with a rate, and when the grant is another that still has them."""
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([replace(user.rules(), mappings=MAPPINGS)])
        with site.socket(socket.SOCK_STREAM, user.addresses[0]) as sock:
            await asyncio.get_running_loop().sock_connect(sock, (MAPPED_PLACES["lan host"][0], PORTS[0]))
            fewer = replace(user.rules(), mappings=MAPPINGS[:1])
            slower = replace(user.rules(target("192.168.0.20/32", "tcp"), rate=10**9), mappings=MAPPINGS)
            for rules in (fewer, slower):
                site.manager.change_users([rules])
                assert await echo_of(sock) == OPEN
            site.manager.change_users([replace(slower, targets=(target("192.168.0.20/32", "udp"),))])
            assert await echo_of(sock) == REFUSED

    @pytest.mark.parametrize("version", [4, 6])
    async def test_what_was_translated_is_not_judged_by_its_name_for_ever(
        self, site: Site, version: int
    ) -> None:
        """The name of what is granted no longer is an address that still is."""
        place = ("10.66.0.1", "fd88::1")[version == 6]
        real, seen = (
            ip_network(("192.168.0.20", "fd77::20")[version == 6]),
            ip_network(place),
        )
        mappings = (Mapping(real, seen),)
        user = User(3, (target(str(real)), target(str(seen), "tcp", PORTS[0])))
        site.manager.change_users([replace(user.rules(), mappings=mappings)])
        source = user.addresses[version == 6]
        with site.socket(socket.SOCK_STREAM, source) as sock:
            await asyncio.get_running_loop().sock_connect(sock, (place, PORTS[0]))
            assert await echo_of(sock) == OPEN
            site.manager.end_translations(user.rules().addresses, mappings)
            assert await echo_of(sock) == OPEN, "it has its name"
            narrower = user.rules(user.targets[1])
            site.manager.change_users([narrower])
            site.manager.end_translations(narrower.addresses, ())
            assert await echo_of(sock) == REFUSED

    @pytest.mark.parametrize("place", MAPPED_PLACES["lan host"])
    async def test_errors_come_back_by_the_address_that_was_asked(self, site: Site, place: str) -> None:
        """Nobody listens at the port."""
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([replace(user.rules(), mappings=MAPPINGS)])
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            source = user.addresses[":" in place]
            with site.socket(kind, source) as sock, pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(sock, (place, 9))
                await echoes(sock)

    async def test_a_port_that_docker_publishes_stays_the_provider_s_own(self, site: Site) -> None:
        """Ours is the first translation, and the only one."""
        sh("nft add table ip docker")
        sh("nft add chain ip docker nat '{ type nat hook prerouting priority dstnat; }'")
        sh("nft add rule ip docker nat tcp dport 7001 ip daddr != 192.168.0.20 dnat to 192.168.0.20:7002")
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([replace(user.rules(), mappings=MAPPINGS)])
        for places in (PLACES, MAPPED_PLACES):
            assert await site.tries(user.addresses[0], places["provider"][0]) == ALL_REFUSED
            assert await site.tries(user.addresses[0], places["lan host"][0]) == ALL_OPEN

    def test_the_kernel_says_what_holds(self, site: Site) -> None:
        """Nothing is left of a user who had mappings."""
        before = sh("nft list ruleset")
        user = USERS_OF_TESTS["the lan"]
        site.manager.change_users([replace(user.rules(rate=8_000), mappings=MAPPINGS)])
        assert "dnat ip prefix to 192.168.0.0/24" in sh("nft list ruleset")
        site.revoke(user)
        assert sh("nft list ruleset") == before


GIGABIT = 10**9
REVOKED_AFTER = 2.0
COUNTED = """
nft add table inet seen; nft add counter inet seen data
nft add chain inet seen input '{{ type filter hook prerouting priority -300; }}'
nft add rule inet seen input iifname {0} tcp flags '&' rst == 0 counter name data
nft add rule inet seen input iifname {0} meta l4proto udp counter name data
"""
"""Resets are refusals."""


def bytes_seen(netns: Netns) -> int:
    """Of TCP and UDP packets that came into a namespace where COUNTED was run."""
    (counter,) = (one for one in json.loads(netns.sh("nft -j list counters"))["nftables"] if "counter" in one)
    return int(counter["counter"]["bytes"])


@contextlib.contextmanager
def iperf_server(site: Site, port: int) -> Iterator[None]:
    """On the LAN host, for one transfer."""
    command = ["iperf3", "-s", "-1", "-p", str(port), "--forceflush"]
    with site.lan.inside():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert any("listening" in line for line in process.stdout)
        yield
        process.kill()


@contextlib.contextmanager
def transfers(site: Site, *wanted: tuple[str, ...]) -> Iterator[None]:
    """At full speed between the LAN host and the user of 100.64.9.3; whatever becomes of them."""
    with contextlib.ExitStack() as stack:
        for port, options in enumerate(wanted, 5300):
            stack.enter_context(iperf_server(site, port))
            client = ["iperf3", "-c", "192.168.0.20", "-B", "100.64.9.3", "-p", str(port), *options]
            with site.users.inside():
                process = subprocess.Popen(client, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
            stack.enter_context(process)
            stack.callback(process.kill)
        yield


@pytest.mark.parametrize("how", ["revoked", "narrowed"])
def test_nothing_passes_a_second_after_a_revoke_in_the_middle_of_bulk_transfers(site: Site, how: str) -> None:
    """TCP and UDP, to the LAN and from it, as fast as they go. Packets are counted where they come out."""
    user = USERS_OF_TESTS["the lan"]
    site.allow(user)
    site.lan.sh(COUNTED.format("eth0"))
    site.users.sh(COUNTED.format("users0"))
    udp = ("-u", "-b", "1G", "-l", "1400")
    with transfers(site, (), ("-R",), udp, (*udp, "-R")):
        time.sleep(REVOKED_AFTER)
        before = [bytes_seen(one) for one in (site.lan, site.users)]
        start = time.monotonic()
        if how == "revoked":
            site.revoke(user)
        else:
            site.manager.change_users([user.rules(target("192.168.0.20/32", "tcp", 7))])
        took = time.monotonic() - start
        time.sleep(max(0.0, 1.0 - took))
        after = [bytes_seen(one) for one in (site.lan, site.users)]
        time.sleep(REVOKED_AFTER)
        later = [bytes_seen(one) for one in (site.lan, site.users)]
    assert sum(before) * 8 > GIGABIT * REVOKED_AFTER, before
    assert later == after


@pytest.mark.parametrize("direction", ["", "-R"])
@pytest.mark.parametrize("mbit", [5, 100])
def test_the_rate_holds_in_each_direction_and_is_used(site: Site, mbit: int, direction: str) -> None:
    """Once the bucket is empty, which the first two seconds are for."""
    user = USERS_OF_TESTS["the lan"]
    site.manager.change_users([user.rules(rate=mbit * 10**6)])
    with iperf_server(site, 5300):
        client = f"iperf3 -J -c 192.168.0.20 -B 100.64.9.3 -p 5300 -O 2 -t 3 {direction}"
        end = json.loads(site.users.sh(client))["end"]
    # A second without traffic, after a loss, fills the bucket again.
    assert 0.6 < end["sum_received"]["bits_per_second"] / (mbit * 10**6) < 1.4


def test_other_rules_are_no_new_allowance(site: Site) -> None:
    """A user may ask for other mappings again and again: what was used up stays used up."""
    user, rate, size = USERS_OF_TESTS["the lan"], 1_000_000, 1400
    site.lan.sh(COUNTED.format("eth0"))
    start = time.monotonic()
    with site.socket(socket.SOCK_DGRAM, user.addresses[0]) as sock:
        sock.setblocking(True)
        for number in range(8):
            rules = replace(user.rules(rate=8 * rate), mappings=MAPPINGS[: number % 2])
            site.manager.change_users([rules])
            for _ in range(rate // size):
                sock.sendto(bytes(size), ("192.168.0.20", 9))
    # A second's worth and two super-packets at once, and what the rate adds meanwhile.
    allowed = rate * (time.monotonic() - start + 1.0) + userchains.BURST_BYTES
    seen = bytes_seen(site.lan)
    assert rate < seen < 1.1 * allowed, f"{seen} bytes, {allowed:.0f} are allowed"


@pytest.mark.parametrize(
    ("network", "protocol", "ports", "message"),
    [
        ("10.0.0.0/8", "sctp", ALL_PORTS, "protocol 'sctp' is none of tcp, udp, icmp"),
        ("10.0.0.0/8", "", (80, 80), "ports need a protocol"),
        ("10.0.0.0/8", "icmp", (80, 80), "ports need a protocol"),
        ("10.0.0.0/8", "tcp", (81, 80), "81-80 is no range of ports"),
        ("10.0.0.0/8", "tcp", (0, 65_536), "0-65536 is no range of ports"),
        ("10.0.0.0/8", "tcp", (-1, 80), "-1-80 is no range of ports"),
    ],
)
def test_a_target_that_makes_no_sense(
    network: str, protocol: str, ports: tuple[int, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Target(ip_network(network), protocol, ports)


def test_all_that_a_target_can_be_is_taken_by_the_kernel(site: Site) -> None:
    """Also the widest networks, single ports at the ends, and a rate beyond what the kernel can count."""
    targets = [
        Target(ip_network(network), protocol, ports)
        for network in ("0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00::/8", "fd00::7/128")
        for protocol, ports in (
            ("", ALL_PORTS),
            ("icmp", ALL_PORTS),
            ("tcp", ALL_PORTS),
            ("udp", (0, 0)),
            ("tcp", (65_535, 65_535)),
            ("udp", (1, 65_534)),
        )
    ]
    user = USERS_OF_TESTS["the lan"]
    for rate in (1, 8, 10**15):
        site.manager.change_users([user.rules(*targets, rate=rate)])
        assert sh("nft list ruleset").count("accept\n") > len(targets)
