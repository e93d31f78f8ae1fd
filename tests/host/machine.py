"""A machine with networks, a firewall and settings of its own, and the states that tests give to it.

::

     netns
    ┌───────────────────────────────────────────────────────────┐
    │ nc0: a TUN device    eth0 10.1.2.3/24, fd05::1/64 ─ peer0 │
    │ 100.64.0.2, fd00::2  default route via 10.1.2.1           │
    │ somebody else's: rule 77, table inet theirs               │
    └───────────────────────────────────────────────────────────┘

The fixtures are for those tests that import them: `host`, `tun`.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from nconnect.host.desired import DesiredState
from nconnect.host.grants import Target
from nconnect.host.plans import gateway_state, user_state
from nconnect.host.tun import Tun
from nconnect.host.user_rules import UserRules

from .namespaces import Netns, sh, write_sysctl

# A machine with two networks, somebody's firewall, somebody's rule, and settings that are not the default.
HOST = """
ip link add eth0 type veth peer name peer0
ip link set eth0 up
ip link set peer0 up
ip addr add 10.1.2.3/24 dev eth0
ip addr add fd05::1/64 dev eth0
ip route add default via 10.1.2.1
ip rule add from 10.1.2.3 priority 77 lookup 52
nft add table inet theirs
nft add chain inet theirs forward '{ type filter hook forward priority 0; policy accept; }'
nft add rule inet theirs forward tcp dport 25 counter drop
"""
ADDRESSES = (ip_interface("100.64.0.2/32"), ip_interface("fd00::2/128"))
PREFIXES = (ip_network("10.0.0.0/8"), ip_network("192.168.7.0/24"), ip_network("fd05::/48"))


@pytest.fixture
def host(netns: Netns) -> Netns:
    sh(HOST)
    # A hardened host, where the kernel's own restoring of a forwarding switch would loosen something.
    write_sysctl("net/ipv4/conf/all/accept_redirects", "0")
    write_sysctl("net/ipv4/conf/eth0/forwarding", "1")
    write_sysctl("net/ipv4/conf/eth0/rp_filter", "1")
    return netns


@pytest.fixture
def tun(host: Netns) -> Iterator[Tun]:
    with Tun.open("nc0") as device:
        yield device


def user(prefixes: tuple[str, ...] = (), mtu: int = 1400) -> DesiredState:
    networks = tuple(map(ip_network, prefixes)) or PREFIXES
    return user_state("home", "nc0", mtu, ADDRESSES, networks)


def gateway(instance: str = "home") -> DesiredState:
    own = (ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64"))
    return gateway_state(instance, "nc0", 1400, own)


def rules(*addresses: str, to: str = "10.1.2.0/24", rate: int = 0) -> UserRules:
    return UserRules(tuple(map(ip_address, addresses)), (Target(ip_network(to)),), rate)
