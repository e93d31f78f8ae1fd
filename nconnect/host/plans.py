"""The two states that nconnect asks for: a user's machine, and a provider's.

Both read the host, so call them again when its networks change; the manager applies the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from nconnect.host import firewall, routing, sysctl
from nconnect.host.desired import ClosedState, DesiredState, Interface, RouteKind
from nconnect.host.netlink import FAMILY, Netlink, attribute
from nconnect.host.networks import (
    Connected,
    connected_networks,
    find_conflict,
    more_specific,
    nameservers,
    tunnelled_networks,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Each means this machine's own surroundings, wherever it is: link-local, multicast, a cloud's metadata.
LOCAL_ONLY = tuple(
    Connected(ip_network(prefix), "every interface")
    for prefix in (
        *("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8"),
        *(prefix for prefixes in firewall.METADATA.values() for prefix in prefixes),
    )
)

# What rp_filter calls a check that asks only whether there is a way back.
LOOSE = "2"
# Looks at marks when it checks a packet's way back; of all interfaces, whose own value is then no matter.
SRC_VALID_MARK = "net.ipv4.conf.all.src_valid_mark"
# RTPROT_RA: the kernel learned the route from a router advertisement.
PROTOCOL_RA = 9
# IN6_ADDR_GEN_MODE_NONE: no link-local address, so no router solicitations into the tunnel.
NO_LINK_LOCAL = "1"


def user_state(
    instance: str,
    link: str,
    mtu: int,
    addresses: Sequence[Interface],
    prefixes: Iterable[Network],
    connected: Sequence[Connected] | None = None,
    tunnelled: Sequence[Connected] = (),
    *,
    kill_switch: bool = False,
    resolver: str = "",
    forward: Sequence[str] = (),
) -> DesiredState:
    """A user's machine: `prefixes` go through `link`, whose own addresses are `addresses`.

    With `kill_switch` they go nowhere once the link is gone, instead of wherever they went before.
    `resolver` is an address to put into resolv.conf, empty: none. What comes from the interfaces `forward`
    goes through the link as well.

    `connected` are the networks that keep their way if they lie inside a prefix, as do `tunnelled` ones,
    which other tunnels carry: who came first keeps its part of a wider offer. None: read both from the host.
    Never routed are link-local and multicast prefixes, a cloud's metadata and this machine's name servers:
    seeds have names, and a tunnel that carries their lookups never comes back once it is lost. The provider
    and its LAN reach nothing on this machine but answers and ping.
    """
    if connected is None:
        connected, tunnelled = connected_networks(exclude=(link,)), tunnelled_networks(exclude=(link,))
    versions = _versions(link)
    never = _never_routed(connected)
    wanted = [one for one in prefixes if one.version in versions and find_conflict(one, never) is None]
    keep = _kept_inside(wanted, (*never, *connected, *tunnelled))
    table = routing.table_of(link)
    return DesiredState(
        instance=instance,
        link=link,
        mtu=mtu,
        addresses=tuple(one for one in addresses if one.version in versions),
        routes=routing.routes(table, wanted, keep, kill_switch=kill_switch),
        rules=tuple(rule for rule in routing.rules(table) if rule.version in versions),
        nft=firewall.user_table(instance, link, [one.ip for one in addresses], forward),
        sysctls=tuple(_reverse_path_by_mark()),
        link_sysctls=tuple(_link_sysctls(link)),
        resolver=resolver,
    )


def closed_state(
    instance: str,
    link: str,
    prefixes: Iterable[Network],
    connected: Sequence[Connected],
    tunnelled: Sequence[Connected],
) -> ClosedState:
    """`prefixes` lead nowhere, for as long as nobody has said who carries them.

    A prefix that equals or lies inside a network of this machine, or one that another tunnel carries, is left
    out: that is reached. The rest is as in `user_state`.
    """
    versions = _versions(link)
    around = (*_never_routed(connected), *connected, *tunnelled)
    closed = [one for one in prefixes if one.version in versions and find_conflict(one, around) is None]
    table = routing.table_of(link)
    routes = routing.routes(table, closed, _kept_inside(closed, around), kill_switch=True)
    return ClosedState(
        link=link,
        routes=tuple(route for route in routes if route.kind != RouteKind.UNICAST),
        rules=tuple(rule for rule in routing.rules(table) if closed and rule.version in versions),
        nft=firewall.user_table(instance, link, ()),
        sysctls=tuple(_reverse_path_by_mark()),
    )


def gateway_state(
    instance: str,
    link: str,
    mtu: int,
    addresses: Sequence[Interface],
    forward: Sequence[str] = (),
) -> DesiredState:
    """A provider's machine, for nobody yet: users come and go by `HostManager.change_users`.

    `addresses` are the gateway's own with the length of their pool: 100.64.7.1/24 serves 100.64.7.0/24.
    The kernel's route to the pool comes with the address. What comes from the interfaces `forward` goes on
    although it is we who made this machine forward.
    """
    usable = [one for one in addresses if one.version in _versions(link)]
    table = firewall.gateway_table(
        instance,
        link,
        gateway=[one.ip for one in usable],
        pools=[one.network for one in usable],
        forward=forward,
    )
    versions = {one.version for one in usable}
    return DesiredState(
        instance=instance,
        link=link,
        mtu=mtu,
        addresses=tuple(usable),
        nft=table,
        sysctls=tuple(_forwarding(versions)),
        # Where forwarding was on before, a new link may still be born without it.
        link_sysctls=(*_link_sysctls(link), (sysctl.link_name(4, link, "forwarding"), "1")),
    )


def _never_routed(connected: Sequence[Connected]) -> tuple[Connected, ...]:
    """What no prefix may take: this machine's surroundings, and its name servers."""
    return (*LOCAL_ONLY, *_name_servers(connected))


def _kept_inside(prefixes: Iterable[Network], networks: Sequence[Connected]) -> list[Network]:
    """Of `networks` those that lie inside a prefix, and keep their own way."""
    return [inside.prefix for prefix in prefixes for inside in more_specific(prefix, networks)]


def _name_servers(connected: Sequence[Connected]) -> list[Connected]:
    """This machine's name servers beyond its connected networks, each as a network of one address."""
    hosts = [Connected(ip_network(address), "name server") for address in nameservers()]
    return [one for one in hosts if find_conflict(one.prefix, connected) is None]


def _versions(link: str) -> tuple[int, ...]:
    """The IP versions that the link can have: a machine may lack IPv6, a container may not switch it on."""
    switch = sysctl.link_name(6, link, "disable_ipv6")
    return (4, 6) if sysctl.read(switch) == "0" or sysctl.writable(switch) else (4,)


def _link_sysctls(link: str) -> Iterator[tuple[str, str]]:
    """Switches of our own link, which go with it; a container that may not set them does without."""
    switches = (
        (sysctl.link_name(6, link, "disable_ipv6"), "0"),
        (sysctl.link_name(6, link, "addr_gen_mode"), NO_LINK_LOCAL),
        # A router behind the other end that reports a smaller MTU has any address; where reverse paths are
        # checked strictly its report would be dropped. The larger of "all" and the link's own value holds.
        (sysctl.link_name(4, link, "rp_filter"), LOOSE),
    )
    return (one for one in switches if sysctl.writable(one[0]))


def _reverse_path_by_mark() -> Iterator[tuple[str, str]]:
    """Have the kernel look up the way back to an NKN node by the mark that our table gives to its packets.

    If the node's address lies in an offered prefix, the way back is else the tunnel, or nowhere while that is
    closed: a strict check (rp_filter) drops the first, any check the second, and the tunnel would cut its
    own feet.
    """
    if sysctl.writable(SRC_VALID_MARK):
        yield SRC_VALID_MARK, "1"


def _forwarding(versions: Iterable[int]) -> Iterator[tuple[str, str]]:
    if 4 in versions:
        yield sysctl.IPV4_FORWARD, "1"
    if 6 in versions:
        # A forwarding host stops listening to router advertisements and drops the default route that it has
        # from them, unless accept_ra is 2; that must be set first.
        for name in _links_with_advertised_default():
            yield sysctl.link_name(6, name, "accept_ra"), "2"
        yield sysctl.IPV6_FORWARD, "1"


def _links_with_advertised_default() -> list[str]:
    with Netlink() as netlink:
        names = {one["index"]: attribute(one, "IFLA_IFNAME") for one in netlink.links()}
        routes = netlink.routes(6)
    indices = {
        attribute(route, "RTA_OIF")
        for route in routes
        if route["proto"] == PROTOCOL_RA and route["dst_len"] == 0 and route["family"] == FAMILY[6]
    }
    found = sorted(names[index] for index in indices if index in names)
    return [name for name in found if sysctl.read(sysctl.link_name(6, name, "accept_ra")) in ("1", "2")]
