"""Networks by other names, whose users may reach what they may reach anyway (site.py draws where)."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_network

import pytest

from nconnect.host.user_rules import Mapping

from .namespaces import sh
from .site import (
    ALL_OPEN,
    ALL_REFUSED,
    MAPPED_PLACES,
    MAPPINGS,
    OPEN,
    PLACES,
    PORTS,
    REFUSED,
    USERS_OF_TESTS,
    Site,
    User,
    echo_of,
    echoes,
    echoes_everywhere,
    expected,
    site,
    target,
)

__all__ = ["echoes_everywhere", "site"]

pytestmark = pytest.mark.netns


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
