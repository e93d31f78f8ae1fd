"""Which of the offered routes the user's machine takes.

A route that equals or lies inside a network the machine is connected to would cut that network off, so it is
never installed. A wider one is: the more specific connected network goes on to win. The same goes for the
overlay addresses: a provider that hands out the address of the user's own router would cut it off. And what
is not a LAN's, the default route first of all, is taken only if the user says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from nconnect.errors import ProtocolError, RouteConflictError, UsageError
from nconnect.host.firewall import FORBIDDEN_NETWORKS
from nconnect.host.networks import Connected, contains, find_conflict
from nconnect.tunnel.control import IPAddress, IPNetwork

LAN_SPACE = {
    version: tuple(map(ip_network, prefixes))
    for version, prefixes in {
        4: (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
            *("100.64.0.0/10", "198.18.0.0/15"),  # RFC 6598, RFC 2544
            *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),  # RFC 5737
        ),
        6: ("fc00::/7", "2001:db8::/32"),  # RFC 4193, RFC 3849
    }.items()
}
"""Where LANs are. A route elsewhere would lead some or all of the user's Internet traffic through the
provider, so it is taken only if the user says so."""


@dataclass(frozen=True)
class Conflict:
    """An offered route that is not taken, and why not."""

    route: IPNetwork
    reason: str
    at_home: bool = False
    """It would cut this machine off from a network of its own; by another name it would not."""

    def __str__(self) -> str:
        return f"{self.route} is offered, but {self.reason}"


def split(
    offered: Iterable[IPNetwork],
    connected: Callable[[IPNetwork], Sequence[Connected]],
    accept: Sequence[IPNetwork] = (),
) -> tuple[list[IPNetwork], list[Conflict]]:
    """The routes that may be installed, and the conflicts of the others.

    `connected` are the networks that a route must not cut off, `accept` public prefixes that the user has
    agreed to.
    """
    accepted: list[IPNetwork] = []
    conflicts: list[Conflict] = []
    for route in offered:
        conflict = _conflict(route, connected(route), accept)
        if conflict is not None:
            conflicts.append(conflict)
        else:
            accepted.append(route)
    return accepted, conflicts


def _conflict(
    route: IPNetwork, connected: Sequence[Connected], accept: Sequence[IPNetwork]
) -> Conflict | None:
    if _is_forbidden(route):
        return Conflict(route, "such addresses are each machine's own")
    inside = find_conflict(route, connected)
    if inside is not None:
        return Conflict(route, f"this machine is itself in {inside}", at_home=True)
    if not _is_lan(route, accept):
        return Conflict(route, f"that is the Internet, not a LAN; if you want it: --accept-route {route}")
    return None


def is_acceptable(prefix: IPNetwork, accept: Sequence[IPNetwork]) -> bool:
    """Whether the user would have this prefix routed, on a machine that is in no network of its own."""
    return _conflict(prefix, (), accept) is None


def check_addresses(
    own: Sequence[IPAddress],
    gateways: Sequence[IPAddress],
    connected: Callable[[IPNetwork], Sequence[Connected]],
    accept: Sequence[IPNetwork] = (),
) -> None:
    """See that the overlay addresses that a provider hands out take nothing from this machine.

    Raises:
        ProtocolError: there is none, or one that no host may have.
        RouteConflictError: one lies inside a network that this machine is connected to.
    """
    if not own:
        raise ProtocolError("the provider hands out no address")
    for address in (*own, *gateways):
        alone = ip_network(address)
        if _is_forbidden(alone):
            raise ProtocolError(f"the provider hands out {address}, which no host may have")
        if not _is_lan(alone, accept):
            raise ProtocolError(f"the provider hands out {address}, which belongs to the Internet")
        inside = find_conflict(alone, connected(alone))
        if inside is not None:
            raise RouteConflictError(
                f"the provider's overlay has {address}, but this machine is itself in {inside}: "
                "nothing was changed; the provider can set another pool"
            )


def check_name(name: IPNetwork) -> None:
    """See that a prefix may be the name for one of a provider's.

    Raises:
        UsageError: it is the Internet's, or each machine's own.
    """
    if _is_forbidden(name) or not _is_lan(name, ()):
        raise UsageError(f"{name} cannot stand for another network; use a private one such as 10.201.7.0/24")


def _is_lan(prefix: IPNetwork, accept: Sequence[IPNetwork]) -> bool:
    spaces = (*LAN_SPACE[prefix.version], *(one for one in accept if one.version == prefix.version))
    return any(contains(space, prefix) for space in spaces)


def _is_forbidden(prefix: IPNetwork) -> bool:
    return any(contains(outer, prefix) for outer in FORBIDDEN_NETWORKS)
