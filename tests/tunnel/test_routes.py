"""Which offered routes are taken: never one that equals or lies inside a connected network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nconnect.errors import ProtocolError, RouteConflictError
from nconnect.host.networks import Connected
from nconnect.tunnel.control import IPNetwork
from nconnect.tunnel.routes import check_addresses, split

CONNECTED = [
    Connected(ip_network("192.168.1.0/24"), "eth0"),
    Connected(ip_network("172.17.0.0/16"), "docker0"),
    Connected(ip_network("fd00:1::/64"), "eth0"),
]


def around(prefix: IPNetwork) -> list[Connected]:
    """The same networks count for each prefix."""
    return CONNECTED


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ("192.168.2.0/24", True),
        ("192.168.1.0/24", False),
        ("192.168.1.128/25", False),
        ("192.168.1.7/32", False),
        ("172.17.5.0/24", False),
        ("192.168.0.0/16", True),
        ("10.0.0.0/8", True),
        ("fc00::/7", True),
        ("203.0.113.0/24", True),
        # Not a LAN's: the user's Internet traffic would go through the provider.
        ("0.0.0.0/0", False),
        ("0.0.0.0/1", False),
        ("8.0.0.0/8", False),
        ("8.8.8.8/32", False),
        ("172.0.0.0/8", False),
        ("::/0", False),
        ("2000::/3", False),
        ("fd00:1::/64", False),
        ("fd00:1::7/128", False),
        ("fd00:1::/48", True),
        # What is each machine's own, though it may be connected to no such network.
        ("127.0.0.0/8", False),
        ("127.0.0.53/32", False),
        ("169.254.169.254/32", False),
        ("224.0.0.0/4", False),
        ("255.255.255.255/32", False),
        ("::1/128", False),
        ("fe80::/10", False),
        ("ff02::/16", False),
        ("fd00:ec2::254/128", False),
        ("fd00:ec2::/64", False),
        ("64:ff9b::a9fe:a9fe/128", False),
    ],
)
def test_offered(offered: str, taken: bool) -> None:
    accepted, conflicts = split([ip_network(offered)], around)
    assert accepted == ([ip_network(offered)] if taken else [])
    assert bool(conflicts) is not taken
    assert all(offered in str(conflict) for conflict in conflicts)


def test_a_public_route_that_the_user_agreed_to() -> None:
    routes = [ip_network("141.0.0.0/16"), ip_network("141.0.7.0/24"), ip_network("141.1.0.0/16")]
    accepted, conflicts = split(routes, around, accept=routes[:1])
    assert accepted == routes[:2]
    assert "--accept-route 141.1.0.0/16" in str(conflicts[0])


GOOD = "100.64.0.1"


@pytest.mark.parametrize("address", ["100.64.0.2", "fd12:3456::2", "10.1.2.3", "203.0.113.7"])
def test_an_overlay_address_that_takes_nothing(address: str) -> None:
    check_addresses([ip_address(address)], [ip_address(GOOD)], around)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1"]
)
def test_an_overlay_address_that_no_host_may_have(address: str) -> None:
    for own, gateways in (([address], []), ([GOOD], [address]), ([GOOD, address], [GOOD])):
        with pytest.raises(ProtocolError, match=address):
            check_addresses(list(map(ip_address, own)), list(map(ip_address, gateways)), around)


@pytest.mark.parametrize("address", ["192.168.1.1", "172.17.0.1", "fd00:1::1"])
def test_an_overlay_address_that_is_somebody_s_here(address: str) -> None:
    """The user's own router, say: as our address or a route to it, it would cut the user off."""
    for own, gateways in (([address], []), ([GOOD], [address])):
        with pytest.raises(RouteConflictError, match=address):
            check_addresses(list(map(ip_address, own)), list(map(ip_address, gateways)), around)


def test_no_overlay_address_at_all() -> None:
    with pytest.raises(ProtocolError, match="no address"):
        check_addresses([], [], around)
