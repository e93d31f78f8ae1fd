"""What an instance wants of the host, as values: `nconnect.host.state.HostManager` makes it so."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network

from nconnect.errors import HostError
from nconnect.host.nft import NftTable

# drivers/net/tun.c: ETH_MIN_MTU to MAX_MTU less no hardware header. IPv6 needs 1280 (RFC 8200 §5).
MIN_MTU = 68
MAX_MTU = 65_535

Network = IPv4Network | IPv6Network
Interface = IPv4Interface | IPv6Interface


class RouteKind(enum.StrEnum):
    UNICAST = "unicast"
    """Through our link."""
    THROW = "throw"
    """Not in this table: the next rule, and so the main table, decides."""
    UNREACHABLE = "unreachable"
    """Nowhere, once the link and its routes are gone: the sender is told so at once."""


@dataclass(frozen=True)
class Route:
    prefix: Network
    table: int
    kind: RouteKind = RouteKind.UNICAST


@dataclass(frozen=True)
class Rule:
    """`[not] fwmark FWMARK lookup TABLE` for one IP version."""

    priority: int
    table: int
    version: int
    """4 or 6."""
    fwmark: int
    invert: bool = True


@dataclass(frozen=True)
class ClosedState:
    """What an instance changes before its link has a use: where nothing goes, and that relays answer."""

    link: str
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    nft: NftTable
    sysctls: tuple[tuple[str, str], ...]
    """As in a `DesiredState`."""


@dataclass(frozen=True)
class DesiredState:
    """All that one instance changes on the host; two equal states are the same host."""

    instance: str
    link: str
    """Name of the TUN device, which must be open."""
    mtu: int
    """Of the link, in bytes."""
    addresses: tuple[Interface, ...] = ()
    """Of the link, with prefix length."""
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    nft: NftTable | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    """(name, value) in the order to be set, restored by undo; names as sysctl(8) prints them."""
    link_sysctls: tuple[tuple[str, str], ...] = ()
    """Switches of the link itself: they go with it, so nobody restores them."""
    resolver: str = ""
    """Address of a resolver of ours to put into resolv.conf; empty: leave that alone."""

    def __post_init__(self) -> None:
        # The MTU comes from the peer.
        if not MIN_MTU <= self.mtu <= MAX_MTU:
            raise HostError(f"MTU {self.mtu} of {self.link}: a TUN device takes {MIN_MTU} to {MAX_MTU} bytes")
