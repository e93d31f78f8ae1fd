"""The two states: what they ask for, and that asking again asks for the same.

::

     netns                                      another netns
    ┌────────────────────────────────────┐ veth ┌──────────────────────────────────────────┐
    │ nc0: a TUN device, which      eth0 ├──────┤ eth0: a relay, 10.66.0.1 and fd66::1, or │
    │ is offered 10.0.0.0/8, fd66::/16   │      │ a router: fe80::1 is the way everywhere  │
    └────────────────────────────────────┘      └──────────────────────────────────────────┘

Where nobody needs to answer, the other end of eth0 is peer0 in the same namespace.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_RA, IPv6
from scapy.layers.l2 import Ether

from nconnect.host import sysctl
from nconnect.host.desired import DesiredState, Route, RouteKind
from nconnect.host.marks import MARK
from nconnect.host.networks import Connected, connected_networks
from nconnect.host.plans import closed_state, gateway_state, user_state
from nconnect.host.routing import table_of
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun

from .namespaces import Netns, await_text, sh, veth, write_sysctl

pytestmark = pytest.mark.netns

ADDRESSES = (ip_interface("100.64.9.2/32"), ip_interface("fd09::2/128"))
OWN = (ip_interface("100.64.9.1/24"), ip_interface("fd09::1/64"))


RELAY = ((socket.AF_INET, "10.66.0.1"), (socket.AF_INET6, "fd66::1"))
# The kernel checks reverse paths of IPv4 only; this is how firewalld does it for IPv6.
FIREWALLD = """table inet firewalld { chain PREROUTING {
    type filter hook prerouting priority raw + 10
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
}; }"""


@pytest.fixture(autouse=True)
def tun(netns: Netns) -> Iterator[Tun]:
    with Tun.open("nc0") as device:
        yield device


def gateway() -> DesiredState:
    return gateway_state("home", "nc0", 1400, OWN)


def user() -> DesiredState:
    return user_state("home", "nc0", 1400, ADDRESSES, [ip_network("10.0.0.0/8")])


def test_connected_networks_may_be_given() -> None:
    office = Connected(ip_network("10.1.2.0/24"), "eth0")
    state = user_state("home", "nc0", 1400, ADDRESSES, [ip_network("10.0.0.0/8")], [office])
    assert state.routes[0] == Route(office.prefix, table_of("nc0"), RouteKind.THROW)


def test_names_are_looked_up_outside_the_tunnel(tmp_path: Path, resolver_files: list[Path]) -> None:
    """A tunnel that was lost is dialled again by its seeds' names."""
    sh("ip link add eth0 type veth peer name peer0; ip link set eth0 up; ip link set peer0 up")
    sh("ip addr add 10.1.2.3/24 dev eth0; ip route add default via 10.1.2.1")
    sh("ip addr add fd05::3/64 dev eth0 nodad; ip route add default via fd05::1")
    resolver_files[0].write_text("nameserver 10.0.0.53\nnameserver 10.1.2.53\nnameserver 8.8.8.8\n")
    resolver_files[1].write_text("nameserver fd77::53\nnameserver 10.0.0.54\n")
    offered = [ip_network(one) for one in ("10.0.0.0/8", "10.0.0.54/32", "fd77::/64")]
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user_state("home", "nc0", 1400, ADDRESSES, offered))
        thrown = sh(f"ip route show table {table_of('nc0')} type throw").split()
        assert [one for one in thrown if one[0].isdigit()] == ["10.0.0.53", "10.0.0.54", "10.1.2.0/24"]
        for server in ("10.0.0.53", "10.0.0.54", "10.1.2.53", "8.8.8.8", "fd77::53"):
            assert "dev eth0" in sh(f"ip route get {server}")
        for other in ("10.0.0.55", "fd77::54"):
            assert "dev nc0" in sh(f"ip route get {other}")
        assert manager.undo() == []


def test_surroundings_stay_out_of_the_tunnel_even_if_everything_is_offered(tmp_path: Path) -> None:
    offered = [
        ip_network(one) for one in ("0.0.0.0/0", "::/0", "169.254.169.254/32", "fe80::/64", "ff02::/16")
    ]
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user_state("home", "nc0", 1400, ADDRESSES, offered, []))
        table = table_of("nc0")
        assert sh(f"ip route show table {table}").split("\n")[:-1] == [
            "default dev nc0 proto kernel ",
            "throw 100.100.100.200 proto kernel ",
            "throw 168.63.129.16 proto kernel ",
            "throw 169.254.0.0/16 proto kernel ",
            "throw 192.0.0.192 proto kernel ",
            "throw 224.0.0.0/4 proto kernel ",
            "throw 255.255.255.255 proto kernel ",
        ]
        assert sh(f"ip -6 route show table {table} type unicast").startswith("default dev nc0")
        assert "throw fe80::/10" in sh(f"ip -6 route show table {table}")


def test_what_is_closed_leaves_this_machines_networks_and_name_servers_alone(
    tmp_path: Path, resolver_files: list[Path]
) -> None:
    """With no connection yet; and a network that is joined then is left out at the next look."""
    sh("ip link add eth0 type veth peer name peer0; ip link set eth0 up; ip link set peer0 up")
    sh("ip addr add 10.1.2.3/24 dev eth0; ip route add default via 10.1.2.1")
    sh("ip addr add fd05::3/64 dev eth0 nodad; ip route add default via fd05::1")
    resolver_files[0].write_text("nameserver 10.0.0.53\n")
    prefixes = [
        ip_network(one) for one in ("10.0.0.0/8", "10.1.2.0/24", "10.9.9.0/24", "192.168.7.0/24", "fd77::/64")
    ]
    tunnels = [Connected(ip_network("10.9.0.0/16"), "nc1")]

    def leads(*addresses: str) -> list[str]:
        """What the kernel says of each: its interface, or nothing."""
        return [
            sh(f"ip route get {one} 2>/dev/null | grep -o 'dev [a-z0-9]*' || true").strip()
            for one in addresses
        ]

    with HostManager(tmp_path / "home.journal") as manager:
        manager.close(closed_state("home", "nc0", prefixes, connected_networks(), tunnels))
        assert manager.closed == ["10.0.0.0/8", "192.168.7.0/24", "fd77::/64"]
        assert leads("10.1.2.9", "10.0.0.53", "10.9.9.9", "8.8.8.8") == ["dev eth0"] * 4
        assert leads("10.0.0.54", "192.168.7.9", "fd77::9") == [""] * 3
        sh("ip addr add 192.168.7.3/24 dev peer0")
        manager.close(closed_state("home", "nc0", prefixes, connected_networks(), tunnels))
        assert leads("192.168.7.9", "10.0.0.54") == ["dev peer0", ""]
        nothing = closed_state("home", "nc0", prefixes[1:2], connected_networks(), tunnels)
        assert (nothing.routes, nothing.rules) == ((), ())
        manager.apply(user())
        assert leads("10.0.0.54", "fd77::9") == ["dev nc0", "dev eth0"]
        assert manager.closed == []
    assert sh("ip rule show priority 5200") == ""


def test_a_kernel_without_ipv6_gets_the_ipv4_half(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sysctl.read
    monkeypatch.setattr(sysctl, "read", lambda name: None if "ipv6" in name else real(name))
    monkeypatch.setattr(sysctl, "writable", lambda name: "ipv6" not in name)
    prefixes = [ip_network("10.0.0.0/8"), ip_network("fd77::/64")]
    state = user_state("home", "nc0", 1400, ADDRESSES, prefixes, [])
    assert {one.version for one in state.addresses} == {4}
    assert {one.prefix.version for one in state.routes} == {4}
    assert {one.version for one in state.rules} == {4}
    assert not any("ipv6" in name for name, _ in (*state.sysctls, *state.link_sysctls))
    assert not any("ipv6" in name for name, _ in (*gateway().sysctls, *gateway().link_sysctls))


def test_a_container_with_read_only_switches_does_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sh("ip link add eth0 type veth peer name peer0")
    write_sysctl("net/ipv4/conf/all/rp_filter", "1")
    monkeypatch.setattr(sysctl, "writable", lambda _: False)
    state = user()
    assert (state.sysctls, state.link_sysctls) == ((), ())
    assert {one.version for one in state.addresses} == {4, 6}
    write_sysctl("net/ipv6/conf/nc0/disable_ipv6", "1")
    assert {one.version for one in user().addresses} == {4}


@pytest.mark.parametrize("plan", [user, gateway])
def test_the_plan_is_the_same_after_it_was_applied(netns: Netns, tmp_path: Path, plan: object) -> None:
    assert callable(plan)
    sh("ip link add eth0 type veth peer name peer0; ip link set eth0 up; ip addr add 10.1.2.3/24 dev eth0")
    write_sysctl("net/ipv4/conf/all/rp_filter", "1")
    with HostManager(tmp_path / "home.journal") as manager:
        first = plan()
        manager.apply(first)
        assert plan() == first


@pytest.mark.parametrize("filtered", ["rp_filter = 1", "rp_filter = 2", "as firewalld does"])
@pytest.mark.parametrize("kill_switch", [False, True], ids=["", "closed before"])
def test_no_check_of_reverse_paths_cuts_off_a_relay_inside_an_offered_prefix(
    netns: Netns, tmp_path: Path, filtered: str, kill_switch: bool
) -> None:
    """The relay is 10.66.0.1 and fd66::1, behind eth0; the provider offers 10.0.0.0/8 and fd66::/16."""
    offered = [ip_network("10.0.0.0/8"), ip_network("fd66::/16")]
    if filtered == "as firewalld does":
        sh(f"nft '{FIREWALLD}'")
    with Netns() as relay:
        veth(netns, "eth0", relay, "eth0")
        if filtered.startswith("rp_filter"):
            write_sysctl("net/ipv4/conf/eth0/rp_filter", filtered[-1])
        sh("ip addr add 198.51.100.2/30 dev eth0; ip route add default via 198.51.100.1")
        sh("ip addr add fd05::2/64 dev eth0 nodad; ip route add default via fd05::1")
        relay.sh("ip addr add 198.51.100.1/30 dev eth0; ip addr add 10.66.0.1/32 dev eth0")
        relay.sh("ip addr add fd05::1/64 dev eth0 nodad; ip addr add fd66::1/128 dev eth0 nodad")
        with contextlib.ExitStack() as stack:
            with relay.inside():
                for family, address in RELAY:
                    stack.enter_context(socket.create_server((address, 80), family=family))
            manager = stack.enter_context(HostManager(tmp_path / "home.journal"))
            if kill_switch:
                manager.close(closed_state("home", "nc0", offered, connected_networks(("nc0",)), ()))
                _connect_marked()
                for family, address in RELAY:
                    with socket.socket(family) as unmarked, pytest.raises(OSError, match="No route to host"):
                        unmarked.connect((address, 80))
            manager.apply(user_state("home", "nc0", 1400, ADDRESSES, offered, kill_switch=kill_switch))
            _connect_marked()
    assert sysctl.read("net.ipv4.conf.all.src_valid_mark") == "0"


def _connect_marked() -> None:
    for family, address in RELAY:
        with socket.socket(family) as marked:
            marked.settimeout(5.0)
            marked.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
            marked.connect((address, 80))


def test_a_default_route_from_router_advertisements_survives_forwarding(netns: Netns, tmp_path: Path) -> None:
    with Netns() as router:
        veth(netns, "eth0", router, "eth0")
        # Until its link is ready the kernel takes no advertisements.
        await_text("ip -6 addr show dev eth0", "fe80:")
        await_text("ip link show dev eth0", "state UP")
        _advertise(router, "eth0")
        await_text("ip -6 route show default", "proto ra")
        before = sh("ip -6 route show default | sed 's/expires.*//'")
        with HostManager(tmp_path / "home.journal") as manager:
            manager.apply(gateway())
            assert sysctl.read(sysctl.IPV6_FORWARD) == "1"
            assert sysctl.read("net.ipv6.conf.eth0.accept_ra") == "2"
            assert sh("ip -6 route show default | sed 's/expires.*//'") == before
            assert gateway() == gateway()
        assert sysctl.read("net.ipv6.conf.eth0.accept_ra") == "1"
        assert sh("ip -6 route show default | sed 's/expires.*//'") == before


def _advertise(router: Netns, link: str) -> None:
    """What a home router sends every few minutes: "I am your default router"."""
    with router.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((link, 0))
        mac = ":".join(f"{byte:02x}" for byte in sock.getsockname()[4])
        advertisement = ICMPv6ND_RA(routerlifetime=1800)
        frame = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1") / advertisement
        sock.send(bytes(frame))
