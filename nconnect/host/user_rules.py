"""What each user may reach, as the gateway's kernel enforces it.

Hand rules in with `HostManager.change_users`; the manager must have applied a `gateway_state` before::

    manager.apply(plans.gateway_state(...))
    manager.change_users([UserRules(addresses, targets, rate)])     # new, or instead of what was there
    manager.change_users(remove=[address, ...])                     # leases that may no longer send

One call is one transaction: packets meet the old rules or the new ones, and established connections are
judged by the new ones from the next packet on, in both directions. A call blocks for some milliseconds, some
tens with 10,000 users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nconnect.errors import ConfigError
from nconnect.host.grants import Network, Target

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Mapping:
    """A network behind the provider by another name, one to one.

    `real` is the prefix at the provider, `seen` the one of the same version and length that the user's
    machine has for it.
    """

    real: Network
    seen: Network

    def __post_init__(self) -> None:
        if (self.real.version, self.real.prefixlen) != (self.seen.version, self.seen.prefixlen):
            raise ConfigError(f"mapping {self}: both sides are of one version and length, as in /24 and /24")

    def __str__(self) -> str:
        return f"{self.real} → {self.seen}"

    @property
    def back(self) -> Mapping:
        """The other way round."""
        return Mapping(self.seen, self.real)


def to_user(address: Address, mappings: Iterable[Mapping]) -> Address:
    """An address of the provider's LAN as the user's machine sees it."""
    for mapping in mappings:
        if address.version == mapping.real.version and address in mapping.real:
            return move_address(address, mapping.real, mapping.seen)
    return address


def move_address(address: Address, source: Network, target: Network) -> Address:
    """The address in `target` that is where `address` is in `source`."""
    # ip_address() would take a small IPv6 number for IPv4.
    return type(address)(int(address) - int(source.network_address) + int(target.network_address))


@dataclass(frozen=True)
class UserRules:
    """All that the kernel knows of one user."""

    addresses: tuple[Address, ...]
    """The lease, at least one address; the first names the user's chain. No two users share one."""
    targets: tuple[Target, ...]
    """What the user may reach; nothing else, so nothing if empty."""
    rate: int = 0
    """Bits per second, in each direction; 0: no limit."""
    mappings: tuple[Mapping, ...] = ()
    """Prefixes that mean others in this user's packets; `targets` are real ones all the same."""
