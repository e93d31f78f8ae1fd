"""One user's connections and another's, who share the provider's ports and its table (site.py draws where).

Both users may reach one port of one server, so all their connections are told apart by the provider's port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from ipaddress import ip_interface

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from nconnect.host import firewall, sysctl
from nconnect.host.plans import gateway_state

from .site import (
    ANSWER_SECONDS,
    MTU,
    NOTHING,
    OPEN,
    PLACES,
    PORTS,
    REFUSED,
    Site,
    User,
    echo_of,
    echoes_everywhere,
    site,
    target,
)

__all__ = ["echoes_everywhere", "site"]

pytestmark = [pytest.mark.netns, pytest.mark.usefixtures("echoes_everywhere")]

SERVICE = tuple(target(host, "tcp", PORTS[0]) for host in PLACES["lan host"])
MANY, OTHER = User(2, SERVICE), User(3, SERVICE)
OWN = (ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64"))
# What the server answers does not come to the one who floods, whose machine would end what it did not begin.
DEAF = """
nft add table inet deaf; nft add chain inet deaf in '{ type filter hook prerouting priority -300; }'
nft add rule inet deaf in ip daddr 100.64.9.2 drop; nft add rule inet deaf in ip6 daddr fd09::2 drop
"""


async def connect(site: Site, user: User, version: int) -> tuple[str, socket.socket]:
    """What comes of a connection of the user's to the service, and its socket."""
    at = version == 6
    sock = site.socket(socket.SOCK_STREAM, user.addresses[at])
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (PLACES["lan host"][at], PORTS[0]))
    except TimeoutError:
        return NOTHING, sock
    except OSError:
        return REFUSED, sock
    return await echo_of(sock), sock


@pytest.mark.parametrize("version", [4, 6])
async def test_a_user_s_open_connections_are_limited_and_ended_ones_make_room(
    site: Site, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 20
    monkeypatch.setattr(firewall, "CONNECTIONS", limit)
    site.manager.apply(gateway_state("home", "nc0", MTU, OWN))
    site.allow(MANY, OTHER)
    with contextlib.ExitStack() as stack:

        async def tries(user: User, times: int) -> list[tuple[str, socket.socket]]:
            found = [await connect(site, user, version) for _ in range(times)]
            for _, sock in found:
                stack.enter_context(sock)
            return found

        found = await tries(MANY, limit + 2)
        assert "".join(one for one, _ in found) == OPEN * limit + REFUSED * 2
        # What is open goes on, the other user notices nothing, and other grants are no new allowance.
        assert {await echo_of(sock) for _, sock in found[:limit]} == {OPEN}
        assert {one for one, _ in await tries(OTHER, limit)} == {OPEN}
        site.manager.change_users([MANY.rules(*SERVICE, target("10.66.0.1/32"))])
        assert [one for one, _ in await tries(MANY, 1)] == [REFUSED]
        for _, sock in found[:5]:
            sock.shutdown(socket.SHUT_WR)
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
        # The kernel sees it when its clock ticks.
        found, deadline = [], time.monotonic() + 5.0
        while [one for one, _ in found].count(OPEN) < 5:
            assert time.monotonic() < deadline, found
            found += await tries(MANY, 1)
        assert [one for one, _ in await tries(MANY, 1)] == [REFUSED]


async def test_who_begins_too_often_is_refused_also_who_ends_each(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ended connection is not counted, but keeps its port for a while."""
    at_once = 10
    monkeypatch.setattr(firewall, "NEW_CONNECTIONS_AT_ONCE", at_once)
    monkeypatch.setattr(firewall, "NEW_CONNECTIONS_PER_SECOND", 1)
    site.manager.apply(gateway_state("home", "nc0", MTU, OWN))
    site.allow(MANY, OTHER)
    found = ""
    for _ in range(2 * at_once):
        one, sock = await connect(site, MANY, 4)
        sock.close()
        found += one
    assert found.startswith(OPEN * at_once)
    assert found.count(REFUSED) > at_once // 2
    one, sock = await connect(site, OTHER, 4)
    sock.close()
    assert one == OPEN


@pytest.mark.parametrize("version", [4, 6])
async def test_who_begins_a_connection_from_every_port_shuts_nobody_out(site: Site, version: int) -> None:
    """And answers none: each would keep its port for two minutes."""
    site.allow(MANY, OTHER)
    site.users.sh(DEAF)
    source, host = MANY.addresses[version == 6], PLACES["lan host"][version == 6]
    await asyncio.to_thread(begin_everywhere, site, source, host)
    count = int(sysctl.read("net.netfilter.nf_conntrack_count") or 0)
    assert firewall.CONNECTIONS <= count < firewall.CONNECTIONS + 100
    for _ in range(5):
        found, sock = await connect(site, OTHER, version)
        sock.close()
        assert found == OPEN


def begin_everywhere(site: Site, source: str, host: str) -> None:
    """A SYN from each port of the user's, in order and at once."""
    network = IPv6(src=source, dst=host) if ":" in host else IP(src=source, dst=host)
    packet = bytearray(bytes(network / TCP(sport=0, dport=PORTS[0], seq=1, flags="S")))
    at = len(bytes(network))
    checksum = int.from_bytes(packet[at + 16 : at + 18])
    with site.users.inside():
        sock = socket.socket(
            socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW
        )
    with sock:
        for port in range(1024, 65_536):
            packet[at : at + 2] = port.to_bytes(2)
            # A port from 0 upwards is taken off the checksum, in one's complement.
            folded = checksum - port if port < checksum else checksum - port + 0xFFFF
            packet[at + 16 : at + 18] = folded.to_bytes(2)
            sock.sendto(packet, (host, 0))
