"""What a machine is connected to, what conflicts with it, and what it reaches.

::

     netns
    ┌──────────────────────────────────────────────────────────────┐
    │ eth0 10.1.2.3/24 ──────────── eth1 10.200.0.1/30, fd05::1/64 │
    │  ├ .1: everywhere              ├ .2: 10.9.9.0/24             │
    │  ├ .7: 10.9.0.0/16             ├ ::99: everywhere            │
    │  └ .7, .8: 10.10.0.0/16        ├ ::7: fd06::/48              │
    │ br0 172.17.0.1/16,             ├ ::7, ::8: fd07::/48         │
    │ a bridge as Docker's           └ table 700003: a tunnel's    │
    └──────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.host.networks import (
    Connected,
    connected_networks,
    find_conflict,
    inner_interfaces,
    more_specific,
    nameservers,
    reach,
    reached_networks,
    search_domains,
    tunnelled_networks,
)

from .namespaces import Netns, sh

OFFICE = Connected(ip_network("10.1.2.0/24"), "eth0")
DOCKER = Connected(ip_network("172.17.0.0/16"), "docker0")
SIX = Connected(ip_network("fd05::/64"), "eth0")
HERE = (OFFICE, DOCKER, SIX)


@pytest.mark.parametrize(
    ("prefix", "conflict"),
    [
        ("10.1.2.0/24", OFFICE),
        ("10.1.2.128/25", OFFICE),
        ("10.1.2.7/32", OFFICE),
        ("172.17.3.0/24", DOCKER),
        ("fd05::/64", SIX),
        ("fd05::1/128", SIX),
        ("10.0.0.0/8", None),
        ("10.1.3.0/24", None),
        ("fd05::/48", None),
        ("0.0.0.0/0", None),
        ("::/0", None),
    ],
)
def test_a_prefix_equal_to_or_inside_a_connected_network_conflicts(
    prefix: str, conflict: Connected | None
) -> None:
    assert find_conflict(ip_network(prefix), HERE) == conflict


@pytest.mark.parametrize(
    ("prefix", "inside"),
    [
        ("10.0.0.0/8", [OFFICE]),
        ("0.0.0.0/0", [OFFICE, DOCKER]),
        ("::/0", [SIX]),
        ("10.1.2.0/24", []),
        ("10.1.2.0/25", []),
        ("192.168.0.0/16", []),
    ],
)
def test_connected_networks_inside_a_prefix_are_found(prefix: str, inside: list[Connected]) -> None:
    assert more_specific(ip_network(prefix), HERE) == inside


def test_a_connected_network_is_told_with_its_interface() -> None:
    assert str(OFFICE) == "10.1.2.0/24 (eth0)"


def test_the_name_servers_of_this_machine(resolver_files: list[Path]) -> None:
    assert nameservers() == []
    resolver_files[0].write_text(
        "# nameserver 10.9.9.9\nsearch home\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver\n"
        "nameserver\t10.0.0.53  trailing\nnameserver no-address\nnameserver ::1\n"
    )
    resolver_files[1].write_bytes(b"\xff\nnameserver fd05::53%eth0\nnameserver 10.0.0.53\n")
    assert list(map(str, nameservers())) == ["10.0.0.53", "fd05::53"]


def test_domains_of_this_machines_own_networks(resolver_files: list[Path]) -> None:
    assert search_domains() == []
    resolver_files[0].write_text("nameserver 10.0.0.53\nsearch home Office.Example. .\n# search no\nsearch\n")
    resolver_files[1].write_text("domain lan\nsearch home\n")
    assert search_domains() == ["home", "office.example", "lan"]


HOST = """
ip link add eth0 type veth peer name eth1
ip link add br0 type bridge
ip link set eth0 up; ip link set eth1 up; ip link set br0 up
ip addr add 10.1.2.3/24 dev eth0
ip addr add 172.17.0.1/16 dev br0
ip addr add fd05::1/64 dev eth1
ip addr add 10.200.0.1/30 dev eth1
ip route add default via 10.1.2.1
ip route add 10.9.0.0/16 via 10.1.2.7
ip route add 10.9.9.0/24 via 10.200.0.2
ip route add 10.10.0.0/16 nexthop via 10.1.2.7 nexthop via 10.1.2.8
ip route add unreachable 10.56.0.0/16
ip route add 10.77.0.0/16 dev eth1 table 99
ip route add 10.88.0.0/16 dev eth1 table 700003
ip -6 route add default via fd05::99
ip -6 route add fd06::/48 via fd05::7
ip -6 route add fd07::/48 nexthop via fd05::7 nexthop via fd05::8
ip -6 route add fd88::/64 dev eth1 table 700003
"""


@pytest.mark.netns
class TestOnAHost:
    @pytest.fixture(autouse=True)
    def host(self, netns: Netns) -> None:
        sh(HOST)

    def test_connected_networks(self) -> None:
        networks = {str(one) for one in connected_networks()}
        assert networks == {
            "10.1.2.0/24 (eth0)",
            "10.200.0.0/30 (eth1)",
            "172.17.0.0/16 (br0)",
            "fd05::/64 (eth1)",
        }

    def test_our_own_links_are_left_out(self) -> None:
        assert {one.interface for one in connected_networks(exclude=("eth1", "br0"))} == {"eth0"}

    def test_who_may_count_on_this_machine_to_forward(self) -> None:
        """Neither where the Internet is, by one version or both, nor who has a bridge."""
        assert inner_interfaces() == []
        sh("ip -6 route del default; ip link add wg0 type veth peer name wg1; ip link set wg0 up")
        assert inner_interfaces() == ["eth1"]
        sh("ip addr add 10.66.0.1/24 dev wg0")
        assert inner_interfaces() == ["eth1", "wg0"]

    def test_the_prefixes_of_other_tunnels_of_ours(self) -> None:
        assert [str(one) for one in tunnelled_networks()] == ["10.88.0.0/16 (eth1)", "fd88::/64 (eth1)"]
        assert tunnelled_networks(exclude=("eth1",)) == []

    def test_all_that_is_reached_beside_the_internet(self, resolver_files: list[Path]) -> None:
        """A name for another network must be none of these."""
        sh("ip route add 0.0.0.0/1 via 10.1.2.1; ip -6 route add 2000::/3 via fd05::99")
        resolver_files[0].write_text("nameserver 192.0.2.53\n")
        assert {str(one) for one in reached_networks(exclude=("br0",))} == {
            *("10.1.2.0/24", "10.200.0.0/30", "fd05::/64"),
            *("10.9.0.0/16", "10.9.9.0/24", "10.10.0.0/16", "fd06::/48", "fd07::/48"),
            *("10.77.0.0/16", "10.88.0.0/16", "fd88::/64", "192.0.2.53/32"),
        }

    @pytest.mark.parametrize(
        ("prefix", "interface"),
        [
            ("10.1.2.0/24", "eth0"),
            ("10.1.2.9/32", "eth0"),
            ("172.16.0.0/12", "br0"),
            ("10.9.1.0/24", "eth0"),
            ("10.9.9.0/25", "eth1"),
            ("10.10.5.0/24", "eth0"),
            ("fd06:0:0:1::/64", "eth1"),
            ("fd07::/64", "eth1"),
            ("10.56.0.0/16", None),
            ("10.77.0.0/16", None),
            ("8.8.8.0/24", None),
            ("192.168.1.0/24", None),
            ("fd08::/48", None),
            ("127.0.0.0/8", None),
        ],
    )
    def test_what_is_reached_by_more_than_the_default_route(self, prefix: str, interface: str | None) -> None:
        assert reach(ip_network(prefix)) == interface
