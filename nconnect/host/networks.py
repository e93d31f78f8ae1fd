"""What this machine reaches already: connected networks, and routes that a LAN prefix would take.

Link-local addresses (fe80::/10) are everywhere and belong to nobody, so they are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

from nconnect.host.netlink import Message, Netlink, attribute
from nconnect.host.routing import is_our_table

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAIN_TABLE = 254
RTN_UNICAST = 1
MIN_PREFIX_LENGTH = 8
"""Wider routes are parts of a default route, 0.0.0.0/1 and 2000::/3 for instance."""
LOOPBACK = "lo"
LINK_LOCAL = IPv6Network("fe80::/10")

# Where systemd-resolved runs, the first names 127.0.0.53 only, and the second whom that asks.
RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


@dataclass(frozen=True)
class Connected:
    """A network that an interface is in."""

    prefix: Network
    interface: str

    def __str__(self) -> str:
        return f"{self.prefix} ({self.interface})"


@dataclass(frozen=True)
class _Route:
    prefix: Network
    table: int
    interface: str
    through_gateway: bool


def connected_networks(exclude: Collection[str] = ()) -> list[Connected]:
    """The networks whose hosts this machine reaches without a router, bridges and VPN links included.

    `exclude` names the interfaces that are ours.
    """
    return [
        Connected(route.prefix, route.interface)
        for route in _unicast_routes()
        if route.table == MAIN_TABLE and _is_connected(route) and route.interface not in {LOOPBACK, *exclude}
    ]


def tunnelled_networks(exclude: Collection[str] = ()) -> list[Connected]:
    """The prefixes that other instances of ours on this machine carry, with the name of their link."""
    return [
        Connected(route.prefix, route.interface)
        for route in _unicast_routes()
        if is_our_table(route.table) and route.interface not in exclude
    ]


def reached_networks(exclude: Collection[str] = ()) -> list[Network]:
    """What this machine reaches in any way, its name servers included, beside the Internet."""
    narrow = (route for route in _unicast_routes() if route.prefix.prefixlen >= MIN_PREFIX_LENGTH)
    routed = {route.prefix for route in narrow if route.interface not in exclude}
    return [*routed, *map(ip_network, nameservers())]


def inner_interfaces() -> list[str]:
    """Virtual ones with a network by which this machine does not reach the Internet, bridges left out.

    They were made for somebody who may count on this machine to forward: a container, another VPN's users.
    """
    routes = [route for route in _unicast_routes() if route.table == MAIN_TABLE]
    outer = {route.interface for route in routes if route.prefix.prefixlen < MIN_PREFIX_LENGTH}
    connected = {route.interface for route in routes if _is_connected(route)}
    with Netlink() as netlink:
        virtual = {
            attribute(one, "IFLA_IFNAME") for one in netlink.links() if _kind(one) not in ("", "bridge")
        }
    return sorted((connected & virtual) - outer)


def nameservers() -> list[Address]:
    """The name servers that this machine asks, without loopback and link-local ones.

    Source: resolv.conf(5).
    """
    found = dict[Address, None]()
    for keyword, *values in _resolver_lines():
        if keyword != "nameserver" or not values:
            continue
        try:
            # A scope, as in fe80::1%eth0, is no part of the address.
            address = ip_address(values[0].partition("%")[0])
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local):
            found[address] = None
    return list(found)


def search_domains() -> list[str]:
    """The domains in which this machine looks for short names: those of its own networks.

    In lower case, without dots around them.
    """
    found = dict[str, None]()
    for keyword, *values in _resolver_lines():
        if keyword in ("search", "domain"):
            found.update((value.lower().strip("."), None) for value in values)
    found.pop("", None)  # "search ." is none
    return list(found)


def _resolver_lines() -> Iterator[list[str]]:
    """The words of each line that has some."""
    for path in RESOLVER_FILES:
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            continue
        yield from (words for line in lines if (words := line.split()))


def contains(outer: Network, inner: Network) -> bool:
    """Whether all of `inner` lies in `outer`; not if they are of two IP versions."""
    return inner.prefixlen >= outer.prefixlen and inner.network_address in outer


def find_conflict(prefix: Network, networks: Iterable[Connected]) -> Connected | None:
    """The network that `prefix` equals or lies inside of: routing it away would cut this machine off."""
    return next((one for one in networks if contains(one.prefix, prefix)), None)


def more_specific(prefix: Network, networks: Iterable[Connected]) -> list[Connected]:
    """The networks that lie inside `prefix` and are smaller: they keep their own way."""
    return [one for one in networks if one.prefix != prefix and contains(prefix, one.prefix)]


def reach(prefix: Network, exclude: Collection[str] = ()) -> str | None:
    """The interface by which this machine reaches `prefix`, or a part of it; None if only by default route.

    The narrowest route that holds all of `prefix` counts, and failing that the widest inside it.
    """
    routes = [
        route
        for route in _unicast_routes()
        if route.table == MAIN_TABLE
        and route.prefix.prefixlen
        and route.interface not in {LOOPBACK, *exclude}
    ]
    around = [route for route in routes if contains(route.prefix, prefix)]
    if around:
        return max(around, key=lambda route: route.prefix.prefixlen).interface
    inside = [route for route in routes if contains(prefix, route.prefix)]
    if inside:
        return min(inside, key=lambda route: route.prefix.prefixlen).interface
    return None


class Router:
    """Asks the kernel where packets would go, again and again through one socket; `close` it."""

    def __init__(self) -> None:
        self._netlink = Netlink()

    def leads_away(self, address: Address) -> bool:
        """Whether a packet to `address` leaves this machine, for one other machine. Takes half a millisecond.

        False for what this machine has itself, for broadcasts, and where there is no route.
        """
        return self._netlink.route_type(str(address)) == RTN_UNICAST

    def close(self) -> None:
        self._netlink.close()


def _kind(link: Message) -> str:
    """Of a virtual interface; empty for a network card, and for loopback."""
    information = attribute(link, "IFLA_LINKINFO")
    return attribute(information, "IFLA_INFO_KIND") if information else ""


def _is_connected(route: _Route) -> bool:
    return not route.through_gateway and route.prefix.prefixlen > 0


def _unicast_routes() -> Iterator[_Route]:
    with Netlink() as netlink:
        names = {link["index"]: attribute(link, "IFLA_IFNAME") for link in netlink.links()}
        messages = [*netlink.routes(4), *netlink.routes(6)]
    for message in messages:
        if message["type"] == RTN_UNICAST:
            yield from _hops(message, names)


def _hops(message: Message, names: dict[int, str]) -> Iterator[_Route]:
    default = "0.0.0.0" if message["family"] == 2 else "::"
    address = attribute(message, "RTA_DST") or default
    prefix = ip_network(f"{address}/{message['dst_len']}")
    if isinstance(prefix, IPv6Network) and prefix.subnet_of(LINK_LOCAL):
        return
    table = attribute(message, "RTA_TABLE") or message["table"]
    for hop in attribute(message, "RTA_MULTIPATH") or [message]:
        index = hop.get("oif") or attribute(hop, "RTA_OIF")
        gateway = attribute(hop, "RTA_GATEWAY") or attribute(hop, "RTA_VIA")
        if index in names:
            yield _Route(prefix, table, names[index], through_gateway=gateway is not None)
