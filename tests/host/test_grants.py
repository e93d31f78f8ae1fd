"""Grants against a real kernel: who reaches what, told by real connections (site.py draws where)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network

import pytest

from nconnect.errors import ConfigError
from nconnect.host.grants import ALL_PORTS, Target

from .namespaces import sh
from .site import (
    ALL_OPEN,
    ALL_REFUSED,
    NOTHING,
    OPEN,
    PLACES,
    PORTS,
    SILENCE,
    USERS_OF_TESTS,
    Site,
    User,
    echo_of,
    echoes,
    echoes_everywhere,
    echoing,
    expected,
    listeners,
    site,
    target,
)

__all__ = ["echoes_everywhere", "site"]

pytestmark = pytest.mark.netns


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

    @pytest.mark.parametrize("link", ["lan0", "later0"])
    async def test_an_address_that_the_provider_gets_later_is_its_own_at_once(
        self, site: Site, link: str
    ) -> None:
        """Inside what is granted; on the LAN's interface, and on another one."""
        site.allow(*USERS_OF_TESTS.values())
        if link == "later0":
            sh("ip link add later0 type veth peer name later1; ip link set later0 up; ip link set later1 up")
        later = "192.168.0.99", "fd77::99"
        sh(f"ip addr add {later[0]}/32 dev {link}; ip addr add {later[1]}/128 dev {link} nodad")
        async with echoing(listeners(*later)):
            for name in ("the lan", "everything"):
                found = await site.all_tries(*USERS_OF_TESTS[name].addresses, places={"later": later})
                assert found == {"later": (ALL_REFUSED, ALL_REFUSED)}

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
