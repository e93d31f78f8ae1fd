"""The same subnet on both sides: a provider's network under another prefix, one to one.

::

    192.168.1.20 in the provider's LAN  ↔  10.201.7.20 as the user's machine sees it

The prefix is chosen by the provider's key and its own prefix, so that it is the same one tomorrow, unless
this machine has come to use that meanwhile. The provider's kernel translates (`host.firewall`), for the user
who asked for it; `remapping` is who asks.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_network

from nconnect.errors import ConfigError, UsageError
from nconnect.host.networks import contains
from nconnect.host.user_rules import Mapping as Mapping
from nconnect.host.user_rules import move_address
from nconnect.host.user_rules import to_user as to_user
from nconnect.tunnel.control import IPNetwork, Mappings

POOLS: tuple[IPNetwork, ...] = (
    ip_network("10.192.0.0/10"),
    ip_network("198.18.0.0/15"),
    ip_network("fd6e:636f:6e6e::/48"),
)
"""Where the prefixes are taken from, the first that has one: a part of RFC 1918 that home routers do not give
out; for those whose VPN has all of 10.0.0.0/8, what is for tests (RFC 2544); a unique local prefix (RFC 4193)
with "conn" in it."""
MAX_TRIES = 1024
"""Prefixes of the pool that are looked at: a machine that uses so many of them uses all."""


def choose(
    real: IPNetwork, provider: bytes, taken: Collection[IPNetwork], pools: Iterable[IPNetwork] = POOLS
) -> Mapping | None:
    """A mapping for `real` to a prefix that overlaps none of `taken`; None if no pool has one.

    `provider` is the provider's public key.
    """
    digest = hashlib.sha256(provider + str(real).encode()).digest()
    start = int.from_bytes(digest[:16], "big")
    host_bits = real.max_prefixlen - real.prefixlen
    for pool in pools:
        if pool.version != real.version or pool.prefixlen > real.prefixlen:
            continue
        count = 1 << (real.prefixlen - pool.prefixlen)
        is_free = _free_in(pool, taken)
        for number in range(min(count, MAX_TRIES)):
            offset = (start + number) % count << host_bits
            seen = ip_network((pool.network_address + offset, real.prefixlen))
            if is_free(seen):
                return Mapping(real, seen)
    return None


def _free_in(pool: IPNetwork, taken: Iterable[IPNetwork]) -> Callable[[IPNetwork], bool]:
    """Whether a prefix of `pool` overlaps none of `taken`: for many questions, as a provider offers many
    networks.
    """
    relevant = sorted((one for one in taken if one.overlaps(pool)), key=lambda one: one.prefixlen)
    lasts: dict[int, int] = {}
    starts: list[int] = []
    for one in relevant:
        first, last = int(one.network_address), int(one.broadcast_address)
        place = bisect.bisect_right(starts, first)
        # The wider ones are there already: this one lies in one of them, or touches none.
        if place == 0 or lasts[starts[place - 1]] < first:
            starts.insert(place, first)
            lasts[first] = last

    def is_free(seen: IPNetwork) -> bool:
        place = bisect.bisect_right(starts, int(seen.broadcast_address))
        return place == 0 or lasts[starts[place - 1]] < int(seen.network_address)

    return is_free


def permitted(
    wanted: Iterable[Mapping], granted: Collection[IPNetwork], closed: Collection[IPNetwork]
) -> Mappings:
    """What a provider answers to a user's wish: the mappings that it may have.

    `granted` are the networks that it may reach, `closed` those that cannot be called anything else.
    """
    found, reason = list[Mapping](), ""
    for one in wanted:
        if not any(contains(network, one.real) for network in granted):
            reason = f"you are not granted {one.real}"
        elif any(one.seen.overlaps(network) for network in closed):
            reason = f"{one.seen} means something else"
        elif any(one.seen.overlaps(other.seen) for other in found):
            reason = f"{one.seen} overlaps another mapping"
        else:
            found.append(one)
    return Mappings(tuple(found), reason)


def parse(text: str) -> Mapping:
    """`192.168.1.0/24=10.201.7.0/24`: the provider's prefix, and what to call it here.

    Raises:
        UsageError: it is not that.
    """
    try:
        real, seen = (ip_network(part.strip()) for part in text.split("="))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a mapping such as 192.168.1.0/24=10.201.7.0/24: {error}") from None
    try:
        return Mapping(real, seen)
    except ConfigError as error:
        raise UsageError(f"{text!r}: {error}") from None


def move(prefix: IPNetwork, source: IPNetwork, target: IPNetwork) -> IPNetwork:
    """The part of `target` that is where `prefix` is in `source`."""
    return ip_network((move_address(prefix.network_address, source, target), prefix.prefixlen))
