"""The rules of our table that no user changes: the provider's, into which users' own rules are hung, and a
user's machine's.

Provider (`gateway_table`)::

                 strangers    by another link with a user's address: dropped
    user ─ tun ─ from_users   the first of a connection? too many, too often: refused
             │                a service of this user? source is leased ─ user's chain ─ accepted: on
             │                                        └ not: ping to the gateway, or refused with an error
             ├── translate    a prefix by which this user calls another (`Mapping`) becomes that
             ├── translated   packets to such a prefix are judged here, by where they go now
             └── to_users     answers: the same again;  what this machine itself sends;  nothing else
                 postrouting  masquerade towards the LAN
                 others       between two other links, where it is we who made this machine forward: dropped,
                              but from bridges, and from the interfaces that its owner names

`from_users` and `to_users` look at the connection as its user began it: the first comes before anybody's
destination NAT, so a port that Docker publishes is the provider's own address, and the second asks conntrack.
Only where the user calls a prefix by another is it where the connection goes that counts: nobody else
translates it again, for ours comes before Docker's. A connection that a user may no longer have so ends in
both directions, with the next packet.

What `from_users` leaves to `translated` cannot slip between two states of the table: the thread that changes
it is the one that writes packets into the device, and a write returns when the kernel has done its part.

User (`user_table`)::

    relay ── eth0 ── marked   gets the mark of the websocket that it answers
    provider ─ tun ─ ours     only what is for the link's own addresses
                └─── input    only answers to what the user asked, and ping
                └─── forward  only answers
    containers ─ bridge ─── forward  may go out, masqueraded, as may what comes from interfaces that the
                                     owner names; what comes from others is refused

Interfaces are matched by name, so the table can stand before the link comes up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from nconnect.host import expressions as x
from nconnect.host import sysctl
from nconnect.host.marks import MARK
from nconnect.host.networks import contains
from nconnect.host.nft import NftChain, NftMap, NftSet, NftTable, table_name

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

VERSIONS = (4, 6)
FORWARDING = {4: sysctl.IPV4_FORWARD, 6: sysctl.IPV6_FORWARD}
# How the TUN devices of all our instances begin.
LINK_PREFIX = "nc-"
# What containers and virtual machines are attached to. A veth pair may be the only way out of a container
# that we run in, and another's TUN device a network of strangers.
INNER_NETWORK = "bridge"
SERVICE_PROTOCOLS = ("tcp", "udp")
ADDRESS_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
# Open ones of a leased address. All users share the provider's ports towards a server, some 64,000, and the
# kernel's table of connections; a browser has some hundreds open, and `serve --no-tun` allows 256.
CONNECTIONS = 4096
# An ended connection is not counted, but keeps its port for two minutes: at this rate 31,000 ports do. It
# bounds what the count costs as well: for a new connection the kernel looks at all that the user has, and
# older kernels forget no more than some 900 refused ones a second.
NEW_CONNECTIONS_PER_SECOND = 256
# Ten seconds of a program that opens one for each short request; with the rate, three quarters of the ports.
NEW_CONNECTIONS_AT_ONCE = 16_384
# More than a pool has addresses; only leased ones come so far.
COUNTED_ADDRESSES = 65_536
# Seconds. By then the burst is whole again.
FORGET_BEGUN = NEW_CONNECTIONS_AT_ONCE // NEW_CONNECTIONS_PER_SECOND
# Priorities of libnftables: "raw", "mangle", "dstnat", "filter" and "srcnat".
RAW, MANGLE, DSTNAT, FILTER, SRCNAT = -300, -150, -100, 0, 100

# The clouds' metadata services hand out credentials to whoever asks from the machine. Most have
# 169.254.169.254; these are Alibaba's, Azure's ("wire server") and Oracle's, and by IPv6 AWS's, with its name
# server and clock beside it, and Google's. By NAT64 those of 169.254.0.0/16 have IPv6 addresses as well.
METADATA = {
    4: ("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    6: ("fd00:ec2::/64", "fd20:ce::254/128", "64:ff9b::a9fe:0/112"),
}
# Open only to a grant that names the very address: this host, link-local, metadata, multicast and broadcast.
FORBIDDEN = {
    4: ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", *METADATA[4]),
    6: ("::/128", "::1/128", "fe80::/10", "ff00::/8", *METADATA[6]),
}

_REFUSE = x.rule(x.go_on_in("refused"))

FORBIDDEN_NETWORKS = tuple(ip_network(prefix) for prefixes in FORBIDDEN.values() for prefix in prefixes)


def users_map(version: int) -> str:
    """Name of the map from (a user's address, a user's address) to the user's chain.

    The first is that of the packet at the user's side, the second of who began its connection: nobody sends
    with another's address, nor an ICMP error into another's connection.
    """
    return f"users{version}"


def translate_map(version: int) -> str:
    """Name of the map from the same two addresses to the chain that translates this user's prefixes."""
    return f"translate{version}"


def translated_map(version: int) -> str:
    """Name of the map from the same two addresses to the chain that judges what was translated."""
    return f"translated{version}"


def services_set(version: int, protocol: str) -> str:
    """Name of the set of (the same two addresses, the server's, its port) that users may connect to."""
    return f"{protocol}_services{version}"


def closed_set(version: int) -> str:
    """Name of the set of prefixes that no wider network of a grant opens."""
    return f"closed{version}"


def begun_set(version: int) -> str:
    """Name of the set of who began connections lately, and how many."""
    return f"begun{version}"


def open_set(version: int) -> str:
    """Name of the set of who has connections open, and how many."""
    return f"open{version}"


def gateway_table(
    instance: str,
    link: str,
    *,
    gateway: Iterable[Address],
    pools: Iterable[Network],
    forward: Sequence[str] = (),
) -> NftTable:
    """The provider's table, without users.

    `gateway`: its own overlay addresses, which answer ping; `pools`: prefixes of the overlay, masqueraded
    towards the LAN; `forward`: interfaces, or patterns such as `ve-*`, from which packets go on.
    """
    own, overlay = list(gateway), list(pools)
    return NftTable(
        table_name(instance),
        (*_closed_sets(overlay), *_services_sets(), *_counting_sets()),
        tuple(_maps()),
        (
            NftChain("refused", rules=(x.rule(x.tcp(), x.RESET), x.rule(x.REJECT))),
            NftChain("begun", rules=tuple(_begun())),
            NftChain("strangers", "filter", "prerouting", RAW, tuple(_strangers(link, overlay))),
            NftChain("from_users", "filter", "prerouting", MANGLE, tuple(_from_users(link, own))),
            NftChain("translate", "nat", "prerouting", DSTNAT - 1, tuple(_translate(link))),
            NftChain("translated", "filter", "prerouting", DSTNAT + 1, tuple(_translated(link))),
            NftChain("mss", "filter", "forward", MANGLE, tuple(_clamp(link))),
            *_others(link, forward),
            NftChain("to_users", "filter", "postrouting", FILTER, tuple(_to_users(link, own, overlay))),
            NftChain("postrouting", "nat", "postrouting", SRCNAT, tuple(_masquerade(link, overlay))),
        ),
    )


def user_table(
    instance: str, link: str, addresses: Iterable[Address], forward: Sequence[str] = ()
) -> NftTable:
    """The user's table; `addresses` are the link's own, all that the gateway lets this machine send from.

    `forward`: interfaces, or patterns such as `ve-*`, from which packets go into the link.
    """
    own = list(addresses)
    return NftTable(
        table_name(instance),
        chains=(
            NftChain("marked", "filter", "prerouting", RAW, (_mark_answers(link),)),
            NftChain("ours", "filter", "prerouting", RAW, tuple(_own_destinations(link, own))),
            NftChain("input", "filter", "input", FILTER, tuple(_user_input(link))),
            NftChain("mss", "filter", "forward", MANGLE, tuple(_clamp(link))),
            NftChain("forward", "filter", "forward", FILTER, tuple(_user_forward(link, forward))),
            NftChain("postrouting", "nat", "postrouting", SRCNAT, tuple(_masquerade_others(link, own))),
        ),
    )


def _strangers(link: str, pools: Sequence[Network]) -> Iterator[str]:
    # Before conntrack: it would take them for packets of the user's own connections.
    yield x.rule(x.came_in_by(link), x.ACCEPT)
    yield x.rule(x.came_in_by("lo"), x.ACCEPT)
    for pool in pools:
        yield x.rule(x.source(pool.version, x.prefix(str(pool))), x.DROP)


def _others(link: str, forward: Sequence[str]) -> Iterator[NftChain]:
    for version, switch in FORWARDING.items():
        rules = tuple(_between_others(link, version, forward))
        yield NftChain(f"others{version}", "filter", "forward", FILTER, rules, limits=switch)


def _between_others(link: str, version: int, forward: Sequence[str]) -> Iterator[str]:
    # Each instance's table judges what goes by its own link.
    for ours in (link, f"{LINK_PREFIX}*"):
        yield x.rule(x.came_in_by(ours), x.ACCEPT)
        yield x.rule(x.goes_out_by(ours), x.ACCEPT)
    for interface in forward:
        yield x.rule(x.came_in_by(interface), x.ACCEPT)
    # Whoever began to forward after us, for containers for instance, has a bridge, and translates what is
    # to come in.
    yield x.rule(x.came_in_by_kind(INNER_NETWORK), x.ACCEPT)
    yield x.rule(x.translated_to(), x.ACCEPT)
    yield x.rule(x.conntrack_state("established", "related"), x.ACCEPT)
    # Without a word, like a machine that does not forward.
    yield x.rule(x.is_version(version), x.DROP)


def _from_users(link: str, own: Sequence[Address]) -> Iterator[str]:
    yield x.rule(x.came_in_by(link, "!="), x.ACCEPT)
    # What conntrack cannot place is not masqueraded either, and would show overlay addresses to the LAN.
    yield x.rule(x.conntrack_state("invalid"), x.DROP)
    # Answers to this machine, or to another user, for whom `to_users` judges them.
    yield x.rule(x.connection_direction("reply"), x.conntrack_state("established"), x.ACCEPT)
    for address in own:
        # Only here: to another address it would be an error about a connection by another link.
        to_us = x.destination(address.version, str(address))
        yield x.rule(x.connection_direction("reply"), x.conntrack_state("related"), to_us, x.ACCEPT)
    yield x.rule(x.connection_direction("reply"), x.DROP)
    yield x.rule(x.first_of_connection(), x.go_through("begun"))
    for version in VERSIONS:
        for protocol in SERVICE_PROTOCOLS:
            services = services_set(version, protocol)
            yield x.rule(x.connections_service(version, protocol, "saddr", services), x.ACCEPT)
        yield x.rule(x.connections_user(version, "saddr", users_map(version)))
    # From here on: somebody with a lease wanted more than is granted.
    for address in own:
        to_us = x.destination(address.version, str(address))
        yield x.rule(to_us, x.echo_request(address.version), x.ACCEPT)
    yield _REFUSE


def _begun() -> Iterator[str]:
    for version in VERSIONS:
        often = x.too_often(
            version, begun_set(version), NEW_CONNECTIONS_PER_SECOND, burst=NEW_CONNECTIONS_AT_ONCE
        )
        yield x.rule(often, x.go_on_in("refused"))
        yield x.rule(x.too_many(version, open_set(version), CONNECTIONS), x.go_on_in("refused"))


def _translate(link: str) -> Iterator[str]:
    yield x.rule(x.came_in_by(link, "!="), x.ACCEPT)
    for version in VERSIONS:
        yield x.rule(x.connections_user(version, "saddr", translate_map(version)))


def _translated(link: str) -> Iterator[str]:
    yield x.rule(x.came_in_by(link, "!="), x.ACCEPT)
    yield x.rule(x.connection_direction("reply"), x.ACCEPT)
    for version in VERSIONS:
        yield x.rule(x.connections_user(version, "saddr", translated_map(version)))
    yield _REFUSE


def _to_users(link: str, own: Sequence[Address], pools: Sequence[Network]) -> Iterator[str]:
    # After a crash the table stands without the link, and the default route would take users' answers.
    for pool in pools:
        to_a_user = x.destination(pool.version, x.prefix(str(pool)))
        yield x.rule(x.goes_out_by(link, "!="), to_a_user, x.connection_direction("reply"), x.DROP)
    yield x.rule(x.goes_out_by(link, "!="), x.ACCEPT)
    for version in VERSIONS:
        reply = x.connection_direction("reply")
        for protocol in SERVICE_PROTOCOLS:
            services = services_set(version, protocol)
            yield x.rule(reply, x.connections_service(version, protocol, "daddr", services), x.ACCEPT)
        yield x.rule(reply, x.connections_user(version, "daddr", users_map(version)))
    for address in own:
        from_us = x.source(address.version, str(address))
        yield x.rule(from_us, x.echo_reply(address.version), x.ACCEPT)
    yield x.rule(x.connection_direction("reply"), x.conntrack_state("established"), x.DROP)
    # Our own refusals. They belong to the connection that is refused, and a reset has its server's address.
    yield x.rule(x.conntrack_state("related"), x.reset(), x.ACCEPT)
    for version in VERSIONS:
        yield x.rule(x.is_version(version), x.address_type("saddr", "local"), x.ACCEPT)
    # From user to user: judged when it came in.
    yield x.rule(x.connection_direction("original"), x.came_in_by(link), x.ACCEPT)
    yield x.rule(x.DROP)


def _mark_answers(link: str) -> str:
    # Before the route back is looked up, by the kernel (rp_filter) or by firewalld at this priority and ten:
    # with the mark it is the one that the websocket takes, not the tunnel, and not nowhere.
    outside = x.came_in_by(link, "!=")
    return x.rule(outside, x.tcp(), x.socket_marked(MARK), x.set_mark(MARK))


def _own_destinations(link: str, own: Sequence[Address]) -> Iterator[str]:
    # All connections through the link have one of its addresses here, masqueraded ones too. Another address
    # is that of a connection by another link, which conntrack would take a forged answer for.
    for address in own:
        yield x.rule(x.came_in_by(link), x.destination(address.version, str(address)), x.ACCEPT)
    yield x.rule(x.came_in_by(link), x.DROP)


def _user_input(link: str) -> Iterator[str]:
    yield x.rule(x.came_in_by(link), x.conntrack_state("established", "related"), x.ACCEPT)
    for version in VERSIONS:
        yield x.rule(x.came_in_by(link), x.echo_request(version), x.ACCEPT)
    yield x.rule(x.came_in_by(link), x.DROP)


def _user_forward(link: str, forward: Sequence[str]) -> Iterator[str]:
    yield x.rule(x.came_in_by(link), x.conntrack_state("established", "related"), x.ACCEPT)
    yield x.rule(x.came_in_by(link), x.DROP)
    # Users of a provider on this machine have been judged by its table.
    named = map(x.came_in_by, (f"{LINK_PREFIX}*", *forward))
    for inside in (x.came_in_by_kind(INNER_NETWORK), *named):
        yield x.rule(x.goes_out_by(link), inside, x.ACCEPT)
    # This machine forwards, so who is cut off need not wait to learn of it.
    yield x.rule(x.goes_out_by(link), x.tcp(), x.RESET)
    yield x.rule(x.goes_out_by(link), x.REJECT)


def _clamp(link: str) -> Iterator[str]:
    yield x.rule(x.came_in_by(link), x.clamp_mss())
    yield x.rule(x.goes_out_by(link), x.clamp_mss())


def _masquerade(link: str, pools: Sequence[Network]) -> Iterator[str]:
    for pool in pools:
        yield x.rule(x.source(pool.version, x.prefix(str(pool))), x.goes_out_by(link, "!="), x.MASQUERADE)


def _masquerade_others(link: str, own: Sequence[Address]) -> Iterator[str]:
    for address in own:
        yield x.rule(x.goes_out_by(link), x.source(address.version, str(address), "!="), x.MASQUERADE)


def _closed_sets(pools: Sequence[Network]) -> Iterator[NftSet]:
    for version in VERSIONS:
        own = [pool for pool in pools if pool.version == version]
        # The kernel takes no prefix that lies in another: a pool may hold one of the metadata addresses.
        others = (
            one
            for one in FORBIDDEN_NETWORKS
            if one.version == version and not any(contains(pool, one) for pool in own)
        )
        closed = frozenset(map(str, (*others, *own)))
        yield NftSet(closed_set(version), (ADDRESS_TYPE[version],), interval=True, elements=closed)


def _maps() -> Iterator[NftMap]:
    for version in VERSIONS:
        key = (ADDRESS_TYPE[version],) * 2
        yield NftMap(users_map(version), key)
        yield NftMap(translate_map(version), key, otherwise="accept")
        yield NftMap(translated_map(version), key, otherwise="accept")


def _counting_sets() -> Iterator[NftSet]:
    for version in VERSIONS:
        address = (ADDRESS_TYPE[version],)
        yield NftSet(begun_set(version), address, size=COUNTED_ADDRESSES, timeout=FORGET_BEGUN)
        yield NftSet(open_set(version), address, size=COUNTED_ADDRESSES)


def _services_sets() -> Iterator[NftSet]:
    for version in VERSIONS:
        for protocol in SERVICE_PROTOCOLS:
            yield NftSet(services_set(version, protocol), (*(ADDRESS_TYPE[version],) * 3, "inet_service"))
