"""Where an instance's routes live: a table of its own, asked before the main one, except by marked packets.

::

    0      from all lookup local
    5200   not from all fwmark 0x1063 lookup 700012    ← ours, for IPv4 and IPv6
    32766  from all lookup main

The table holds the prefixes that the provider offers, through our link, and a `throw` route for each network
inside one of them that is connected, or carried by another instance: `throw` goes on to the next rule, so a
printer in the user's own 10.1.2.0/24 stays where it is although the provider offers 10.0.0.0/8.

Several instances may run at once. Each has its own table, numbered by its link's index, which the kernel
gives to one interface at a time; a crash leaves a rule to a table that a later instance does not use. All
instances share one priority: rules of equal priority are asked in the order they were added, which is no
matter, since a table throws what another one carries (`networks.tunnelled_networks` tells). They share one
mark as well: no tunnel carries another's websockets, or two tunnels could feed each other for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from nconnect.errors import HostError
from nconnect.host.desired import Route, RouteKind, Rule
from nconnect.host.marks import MARK

Network = IPv4Network | IPv6Network

# Before tailscale's 5210–5270 (an exit node must not take the LAN that the user asked for), wg-quick's
# 32764–32765 and main, 32766; behind what clusters' network plug-ins put first (cilium 9–111, AWS 512–1536).
RULE_PRIORITY = 5200

# Table 52 is tailscale's, 51820 wg-quick's, 253–255 the kernel's, low numbers NetworkManager's and people's.
TABLE_BASE = 700_000
# Interface indices grow with every container that comes and goes; after this many they wrap around here.
TABLE_COUNT = 100_000


def table_of(link: str) -> int:
    """The table of the instance that has the (open) link; HostError if there is no such link."""
    try:
        index = socket.if_nametoindex(link)
    except OSError as error:
        raise HostError(f"interface {link} is not there: open the TUN device before routing to it") from error
    return TABLE_BASE + index % TABLE_COUNT


def is_our_table(table: int) -> bool:
    return TABLE_BASE <= table < TABLE_BASE + TABLE_COUNT


def routes(
    table: int, prefixes: Iterable[Network], keep: Iterable[Network], *, kill_switch: bool = False
) -> tuple[Route, ...]:
    """Routes for `prefixes` through the link, and `keep` (connected networks inside them) thrown to main.

    With `kill_switch` the prefixes are unreachable when the link is gone, which takes its routes along.
    """
    through = dict.fromkeys(Route(prefix, table) for prefix in prefixes)
    thrown = dict.fromkeys(Route(prefix, table, RouteKind.THROW) for prefix in keep)
    closed = [Route(route.prefix, table, RouteKind.UNREACHABLE) for route in through if kill_switch]
    # Thrown first: at no moment does a connected network's traffic enter the tunnel.
    return (*thrown, *closed, *through)


def rules(table: int) -> tuple[Rule, ...]:
    """`not fwmark MARK lookup table`, for both IP versions."""
    return tuple(Rule(RULE_PRIORITY, table, version, MARK) for version in (4, 6))
