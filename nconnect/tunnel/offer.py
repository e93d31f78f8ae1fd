"""The names that a provider offers: its resolvers and their domains, and hosts that it names itself.

A user is told what the user's grant reaches, no more: who may use one port of one machine has no use for the
names of all others, nor for a resolver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from nconnect.errors import UsageError
from nconnect.host.grants import ALL_PORTS, Target
from nconnect.names import zone
from nconnect.tunnel.control import Host, IPAddress

DNS_PORT = 53
MAX_RESOLVERS = 4
"""Each that is silent costs a question some seconds; programs wait for five."""


@dataclass(frozen=True)
class Offer:
    """All names, or those that one user gets."""

    resolvers: tuple[IPAddress, ...] = ()
    domains: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()

    def within(self, targets: Sequence[Target]) -> Offer:
        """What somebody with these targets gets."""
        resolvers = tuple(one for one in self.resolvers if _answers(one, targets))
        hosts = (
            Host(
                host.name,
                tuple(one for one in host.addresses if any(_has(target, one) for target in targets)),
            )
            for host in self.hosts
        )
        return Offer(
            resolvers, self.domains if resolvers else (), tuple(host for host in hosts if host.addresses)
        )

    def opened(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """What must be open beyond the targets of somebody who gets these names.

        A network of several addresses does not open the provider's own, where a resolver may be.
        """
        return tuple(
            Target(ip_network(resolver), protocol, (DNS_PORT, DNS_PORT))
            for resolver in self.within(targets).resolvers
            for protocol in ("udp", "tcp")
        )


NOTHING = Offer()


def parse(resolvers: Iterable[str], domains: Iterable[str], hosts: Iterable[str]) -> Offer:
    """What `serve --dns ADDRESS --domain DOMAIN --host NAME=ADDRESS` says, each any number of times.

    Raises:
        UsageError: one is wrong, they are too many, or there are domains and nobody who knows them.
    """
    addresses = tuple(dict.fromkeys(_address("--dns", text) for text in resolvers))
    offer = Offer(addresses, tuple(dict.fromkeys(map(zone.parse_domain, domains))), _hosts(hosts))
    limits = (
        ("--dns", offer.resolvers, MAX_RESOLVERS),
        ("--domain", offer.domains, zone.MAX_DOMAINS),
        ("--host", offer.hosts, zone.MAX_HOSTS),
        *((f"--host {host.name}=", host.addresses, zone.MAX_ADDRESSES) for host in offer.hosts),
    )
    for option, given, most in limits:
        if len(given) > most:
            raise UsageError(f"{option} is given {len(given)} times; {most} is the limit")
    if offer.domains and not offer.resolvers:
        raise UsageError("--domain says what a resolver knows; which one? give --dns ADDRESS too")
    return offer


def _hosts(texts: Iterable[str]) -> tuple[Host, ...]:
    addresses: dict[str, dict[IPAddress, None]] = {}
    for text in texts:
        name, _, address = text.partition("=")
        addresses.setdefault(zone.parse_label(name), {})[_address("--host", address)] = None
    return tuple(Host(name, tuple(found)) for name, found in addresses.items())


def _address(option: str, text: str) -> IPAddress:
    try:
        address = ip_address(text)
    except ValueError:
        raise UsageError(f"{option}: {text[: zone.MAX_DOMAIN]!r} is not an IP address") from None
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise UsageError(
            f"{option}: {address} means another machine to each user; give its address in the LAN"
        )
    return address


def _has(target: Target, address: IPAddress) -> bool:
    return address.version == target.network.version and address in target.network


def _answers(resolver: IPAddress, targets: Iterable[Target]) -> bool:
    return any(
        _has(target, resolver)
        and target.protocol in ("", "udp")
        and (target.ports == ALL_PORTS or target.ports[0] <= DNS_PORT <= target.ports[1])
        for target in targets
    )
