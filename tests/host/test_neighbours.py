"""Who sits beside a provider's machine, on another of its networks, and what that machine does for them.

::

       stranger                 provider                            lan
      ┌──────────────────┐ veth┌────────────────────────────┐ veth ┌───────────────┐
      │ 203.0.113.66     ├─────┤ wan0                  lan0 ├──────┤ 192.168.0.20  │
      │ 2001:db8::66     │     │ 203.0.113.2    192.168.0.1 │      │ fd77::20      │
      │ routes to the    │     │ 2001:db8::2        fd77::1 │      └───────────────┘
      │ lan and to the   │     │                            │ veth ┌───────────────┐
      │ container by the │     │  TUN nc0: users    docker0 ├──────┤ container     │
      │ provider         │     │  written by the   (bridge) │      │ 172.17.0.2    │
      └──────────────────┘     │  test                      │      │ fd17::2       │
                               └────────────────────────────┘      └───────────────┘

A packet is shown to be dropped without waiting: the provider sends one after it, which comes first.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from nconnect.host import sysctl
from nconnect.host.grants import Target
from nconnect.host.plans import gateway_state
from nconnect.host.state import HostManager
from nconnect.host.tun import VIRTIO_HEADER_SIZE, Tun
from nconnect.host.user_rules import UserRules

from .namespaces import Netns, sh, veth, write_sysctl

TIMEOUT = 5.0
PORT, PUBLISHED = 7, 8080
OWN = (ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64"))
LEASE = {4: "100.64.9.2", 6: "fd09::2"}
STRANGER = {4: "203.0.113.66", 6: "2001:db8::66"}
WAN = {4: "203.0.113.2", 6: "2001:db8::2"}
LAN_HOST = {4: "192.168.0.20", 6: "fd77::20"}
CONTAINER = {4: "172.17.0.2", 6: "fd17::2"}
FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
# What Docker does for a container that publishes a port: a bridge, forwarding, translation both ways.
DOCKER = f"""
nft 'add table inet docker
add chain inet docker pre {{ type nat hook prerouting priority dstnat; }}
add chain inet docker post {{ type nat hook postrouting priority srcnat; }}
add rule inet docker post ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
add rule inet docker post ip6 saddr fd17::/64 oifname != "docker0" masquerade
add rule inet docker pre ip daddr 203.0.113.2 udp dport {PUBLISHED} dnat ip to 172.17.0.2:{PORT}
add rule inet docker pre ip6 daddr 2001:db8::2 udp dport {PUBLISHED} dnat ip6 to [fd17::2]:{PORT}'
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
"""

pytestmark = pytest.mark.netns


@dataclass
class Site:
    """The test runs in the provider's namespace; what listens at PORT is the sockets."""

    tun: Tun
    journal: Path
    stranger: Netns
    lan: socket.socket
    container: socket.socket

    @contextlib.contextmanager
    def serving(self, *forward: str) -> Iterator[HostManager]:
        with HostManager(self.journal) as manager:
            manager.apply(gateway_state("home", "nc0", 1500, OWN, forward))
            targets = tuple(Target(ip_network(one)) for one in LAN_HOST.values())
            manager.change_users([UserRules(tuple(map(ip_address, LEASE.values())), targets)])
            yield manager

    def passes(self, host: str, to: socket.socket, source: str = "") -> bool:
        """Whether a datagram of the stranger's to that host comes to the socket."""
        with self.stranger.inside():
            send(host, b"stranger", source or STRANGER[6 if ":" in host else 4])
        send(host, b"provider")
        first = to.recv(100)
        assert first == b"provider" or to.recv(100) == b"provider"
        return first == b"stranger"

    def user_is_served(self, version: int, tun: Tun | None = None, lease: str = "") -> bool:
        """Whether a datagram of a user's comes to the LAN."""
        network = IP(dst=LAN_HOST[4]) if version == 4 else IPv6(dst=LAN_HOST[6])
        network.src = lease or LEASE[version]
        packet = network / UDP(sport=4000, dport=PORT) / Raw(b"user")
        assert (tun or self.tun).write(bytes(VIRTIO_HEADER_SIZE) + bytes(packet))
        return self.lan.recv(100) == b"user"


def udp_socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT)
    return sock


def send(host: str, text: bytes, source: str = "") -> None:
    with udp_socket(host) as sock:
        sock.bind((source, 0))
        sock.sendto(text, (host, PORT))


def listener(netns: Netns) -> socket.socket:
    """Of both versions, at PORT."""
    with netns.inside():
        sock = udp_socket("::")
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", PORT))
    return sock


@pytest.fixture
def site(netns: Netns, tmp_path: Path) -> Iterator[Site]:
    with Netns() as stranger, Netns() as lan, Netns() as container, Tun.open("nc0") as tun:
        veth(netns, "wan0", stranger, "eth0")
        veth(netns, "lan0", lan, "eth0")
        veth(netns, "port0", container, "eth0")
        sh("ip link add docker0 type bridge; ip link set docker0 up; ip link set port0 master docker0")
        for place, link, own, own6, other, other6 in (
            (stranger, "wan0", "203.0.113.2/24", "2001:db8::2/64", "203.0.113.66/24", "2001:db8::66/64"),
            (lan, "lan0", "192.168.0.1/24", "fd77::1/64", "192.168.0.20/24", "fd77::20/64"),
            (container, "docker0", "172.17.0.1/16", "fd17::1/64", "172.17.0.2/16", "fd17::2/64"),
        ):
            sh(f"ip addr add {own} dev {link}; ip addr add {own6} dev {link}")
            place.sh(f"ip addr add {other} dev eth0; ip addr add {other6} dev eth0")
            for gateway in (own, own6):
                place.sh(f"ip route add default via {gateway.partition('/')[0]}")
        stranger.sh("ip addr add 100.64.9.2/32 dev eth0; ip addr add fd09::2/128 dev eth0")
        # What waits for a hardware address would come later than what is sent next.
        for address in (*STRANGER.values(), *LAN_HOST.values(), *CONTAINER.values()):
            sh(f"ping -q -c1 -w5 {address}")
        with listener(lan) as at_lan, listener(container) as at_container:
            yield Site(tun, tmp_path / "home.journal", stranger, at_lan, at_container)


@pytest.mark.parametrize("version", [4, 6])
def test_a_stranger_goes_nowhere_by_the_provider(site: Site, version: int) -> None:
    """Neither before it serves, nor meanwhile, nor after."""
    host = LAN_HOST[version]
    assert not site.passes(host, site.lan)
    with site.serving():
        assert site.user_is_served(version)
        assert not site.passes(host, site.lan)
        assert not site.passes(CONTAINER[version], site.container)
    assert not site.passes(host, site.lan)


@pytest.mark.parametrize("version", [4, 6])
def test_what_its_owner_had_it_forward_goes_on(site: Site, version: int) -> None:
    """Only of that version."""
    write_sysctl(FORWARDING[version], "1")
    other = 10 - version
    with site.serving():
        assert site.passes(LAN_HOST[version], site.lan)
        assert not site.passes(LAN_HOST[other], site.lan)
        assert site.user_is_served(version)
    assert site.passes(LAN_HOST[version], site.lan)


@pytest.mark.parametrize("forward", ["wan0", "wa*"])
@pytest.mark.parametrize("version", [4, 6])
def test_an_interface_from_which_its_owner_has_it_forward(site: Site, version: int, forward: str) -> None:
    """What comes from there goes on while it serves, but for users' addresses; from others it does not."""
    host = LAN_HOST[version]
    with site.serving("eth7", forward) as manager:
        assert manager.limits_forwarding
        assert site.passes(host, site.lan)
        assert not site.passes(host, site.lan, LEASE[version])
        assert site.user_is_served(version)
    assert not site.passes(host, site.lan)
    with site.serving("lan0"):
        assert not site.passes(host, site.lan)


def test_nothing_is_limited_where_its_owner_forwards(site: Site) -> None:
    """So that nobody is told of what works."""
    for name in FORWARDING.values():
        write_sysctl(name, "1")
    with site.serving() as manager:
        assert not manager.limits_forwarding


def test_an_owner_who_switches_forwarding_off_while_it_serves(site: Site) -> None:
    """It is put back for the users, and for nobody else."""
    write_sysctl(FORWARDING[4], "1")
    with site.serving() as manager:
        write_sysctl(FORWARDING[4], "0")
        manager.refresh()
        assert site.user_is_served(4)
        assert not site.passes(LAN_HOST[4], site.lan)
    assert sysctl.read(sysctl.IPV4_FORWARD) == "0"


@pytest.mark.parametrize("version", [4, 6])
def test_a_stranger_with_a_user_s_address(site: Site, version: int) -> None:
    """As a new connection, and as a packet of one that the user has; also where the owner forwards."""
    write_sysctl(FORWARDING[version], "1")
    lease, host = LEASE[version], LAN_HOST[version]
    assert site.passes(host, site.lan, lease)
    with site.serving():
        assert not site.passes(host, site.lan, lease)
        assert site.user_is_served(version)
        with site.stranger.inside(), udp_socket(host) as sock:
            sock.bind((lease, 4000))
            sock.sendto(b"stranger", (host, PORT))
        assert site.user_is_served(version)


@pytest.mark.parametrize("docker_first", [True, False])
@pytest.mark.parametrize("version", [4, 6])
def test_containers_go_out_and_what_they_publish_is_reached(
    site: Site, version: int, docker_first: bool
) -> None:
    """Whether they or the provider came first."""
    if docker_first:
        sh(DOCKER)
    with site.serving():
        if not docker_first:
            sh(DOCKER)
        with site.stranger.inside():
            client = udp_socket(STRANGER[version])
        with client:
            client.bind((STRANGER[version], 4000))
            client.sendto(b"question", (WAN[version], PUBLISHED))
            _, sender = site.container.recvfrom(100)
            site.container.sendto(b"answer", sender)
            text, (seen, port, *_) = client.recvfrom(100)
            assert (text, seen, port) == (b"answer", WAN[version], PUBLISHED)
        with site.stranger.inside(), listener(site.stranger) as outside:
            host = STRANGER[version] if version == 6 else f"::ffff:{STRANGER[4]}"
            site.container.sendto(b"question", (host, PORT))
            text, (seen, port, *_) = outside.recvfrom(100)
            assert (text, seen.removeprefix("::ffff:")) == (b"question", WAN[version])
            outside.sendto(b"answer", (seen, port))
            assert site.container.recv(100) == b"answer"


def test_another_instance_serves_its_users_as_well(site: Site, tmp_path: Path) -> None:
    with site.serving(), Tun.open("nc-b") as tun, HostManager(tmp_path / "b.journal") as manager:
        manager.apply(gateway_state("b", "nc-b", 1500, [ip_interface("100.64.8.1/24")]))
        lease = "100.64.8.2"
        manager.change_users([UserRules((ip_address(lease),), (Target(ip_network(LAN_HOST[4])),))])
        assert site.user_is_served(4, tun, lease)
        assert not site.passes(LAN_HOST[4], site.lan)
