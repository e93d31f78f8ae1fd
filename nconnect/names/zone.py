"""Which names a tunnel knows, and who answers for each.

::

    gpu.gpu-box.nc    gpu, as the provider `gpu-box` names it: of the hosts it told us, else by its resolver
    laptop.gpu-box.nc this machine, laptop, at the address that it has leased there
    nas.lan           in a domain that is the provider's: its resolver
    20.1.168.192.in-addr.arpa, where the tunnel leads to 192.168.1.20: likewise
    anything else     not ours

Whatever the provider answers, only addresses that the tunnel leads to are passed on: it cannot make a name
mean a machine of the user's own network, or the user's own machine. Nor can an address have another name than
one of the provider's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from nconnect.errors import UsageError
from nconnect.names import reverse

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

SUFFIX = "nc"
"""The top of our own names. It is New Caledonia's: nothing but what is below a provider's label is ours."""
GATEWAY_LABEL = "gateway"
"""The provider's own overlay address."""
PRIVATE_DOMAINS = (
    "lan",
    "home.arpa",
    "internal",
    "home",
    "corp",
    "localdomain",
    "intranet",
    "private",
)
"""Domains that have no meaning outside a LAN (RFC 8375, RFC 6762 appendix G, ICANN's .internal): a provider
may have those. `local` is not among them: it is multicast DNS of the user's own network (RFC 6762)."""
MAX_LABEL = 63
"""Bytes (RFC 1035, 2.3.4)."""

MAX_DOMAIN = 253
"""Characters of a domain without the dot at its end: 255 bytes with the lengths of its labels."""
MAX_DOMAINS = 32
"""Of one provider; a system resolver compares each name that is asked for with all of them."""
MAX_HOSTS = 128
"""That a provider names itself; a LAN with more has a resolver. With the next figure, what fits a message."""
MAX_ADDRESSES = 4
"""Of one host."""

_NOT_IN_LABELS = re.compile(r"[^a-z0-9-]+")
_LABEL = re.compile(rf"(?!-)[a-z0-9_-]{{1,{MAX_LABEL}}}(?<!-)")


@dataclass(frozen=True)
class Known:
    """The name means these addresses."""

    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True)
class Ask:
    """The provider's resolvers know what the first of these names means that there is."""

    names: tuple[str, ...]
    """Fully qualified, without the dot at the end."""


@dataclass(frozen=True)
class Named:
    """The name is of an address, which is these names'."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class AskName:
    """The provider's resolvers know which names this address has."""

    address: IPAddress
    """As the user sees it."""


Meaning = Known | Ask | Named | AskName | None
"""None: not a name of this tunnel."""


def label(text: str, otherwise: str = "provider") -> str:
    """`text` as one DNS label: lower case, anything else a hyphen; `otherwise` if nothing is left of it."""
    return _NOT_IN_LABELS.sub("-", text.lower())[:MAX_LABEL].strip("-") or otherwise


def parse_label(text: str) -> str:
    """`text` in lower case, if it is a label that a host may have (RFC 1123, 2.1).

    Raises:
        UsageError: it is none.
    """
    lower = text.lower()
    if not _LABEL.fullmatch(lower):
        raise UsageError(f"{text[:MAX_DOMAIN]!r} is not a host's name: letters, digits and hyphens")
    return lower


def parse_domain(text: str) -> str:
    """`text` in lower case without the dots around it, if it is a domain below the root.

    Raises:
        UsageError: it is none.
    """
    domain = text.lower().strip(".")
    if len(domain) > MAX_DOMAIN or not all(map(_LABEL.fullmatch, domain.split("."))):
        raise UsageError(f"{text[:MAX_DOMAIN]!r} is not a domain; write for instance lan or office.example")
    return domain


def is_private(domain: str) -> bool:
    """Whether a provider may have this domain without being asked for it."""
    domain = domain.lower().rstrip(".")
    return any(is_in(domain, private) for private in PRIVATE_DOMAINS)


def is_in(name: str, domain: str) -> bool:
    """Whether `name` is `domain` or below it; both in lower case, without dots around them."""
    return name == domain or name.endswith("." + domain)


@dataclass(frozen=True)
class Zone:
    """The names of one provider, as its Welcome tells them."""

    peer: str
    """The provider's label."""
    reachable: tuple[IPNetwork, ...]
    """What the tunnel leads to, as the user sees it."""
    gateways: tuple[IPAddress, ...] = ()
    hosts: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    """Addresses as the user sees them, by label."""
    leases: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    """Overlay addresses by label: this machine's own alone, for a user is told of no other."""
    domains: tuple[str, ...] = ()
    """The provider's domains, without dots around them; the first is where its hosts are."""

    @property
    def own(self) -> str:
        """The domain below which this provider's names are ours to give."""
        return f"{self.peer}.{SUFFIX}"

    @property
    def named(self) -> dict[str, tuple[IPAddress, ...]]:
        """Addresses by label, of all that need not be asked for; the provider's word counts first."""
        named = {**self.hosts}
        named.setdefault(GATEWAY_LABEL, self.gateways)
        for host, addresses in self.leases.items():
            named.setdefault(host, addresses)
        return named

    @property
    def all_domains(self) -> tuple[str, ...]:
        """What a system resolver is to ask us for."""
        leased = (address for addresses in self.leases.values() for address in addresses)
        networks = dict.fromkeys((*self.reachable, *map(ip_network, (*self.gateways, *leased))))
        return (self.own, *self.domains, *(name for one in networks for name in reverse.domains_of(one)))

    def meaning(self, name: str) -> Meaning:
        """What a fully qualified name (with or without the dot at the end) means here."""
        name = name.lower().rstrip(".")
        if name == self.own:
            return Known(self.gateways)
        if name.endswith("." + self.own):
            return self._host(name.removesuffix("." + self.own))
        if self.has(name):
            return Ask((name,))
        address = reverse.address_of(name)
        return self._names_of(address) if address is not None else None

    def has(self, name: str) -> bool:
        """Whether `name` (lower case, no dot at the end) is in one of the provider's domains."""
        return any(is_in(name, domain) for domain in self.domains)

    def leads_to(self, address: IPAddress) -> bool:
        """Whether the tunnel leads to this address (as the user sees it)."""
        return any(address.version == network.version and address in network for network in self.reachable)

    def _names_of(self, address: IPAddress) -> Named | AskName | None:
        names = [f"{host}.{self.own}" for host, addresses in self.named.items() if address in addresses]
        if names:
            return Named(tuple(names))
        return AskName(address) if self.leads_to(address) else None

    def _host(self, host: str) -> Known | Ask:
        named = self.named
        if host in named:
            return Known(named[host])
        return Ask((*(f"{host}.{domain}" for domain in self.domains), host))
