"""What may be reached: the targets of grants.

Apart from `user_rules`, and made of tuples: `nconnect allow` need not wait for what dataclasses load.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple, Self

from nconnect.errors import ConfigError

Network = IPv4Network | IPv6Network

PROTOCOLS = ("tcp", "udp", "icmp")
ALL_PORTS = (0, 65_535)


class _Target(NamedTuple):
    network: Network
    protocol: str = ""
    """`tcp`, `udp`, `icmp` (ICMPv6 in an IPv6 network), or empty for any."""
    ports: tuple[int, int] = ALL_PORTS
    """First and last destination port, of TCP and UDP."""


class Target(_Target):
    """Something that a user may reach.

    A network of one address (/32, /128) opens that address whatever it is: the provider's own, a metadata
    service, another user's lease. A wider network never opens those.
    """

    __slots__ = ()

    def __new__(cls, network: Network, protocol: str = "", ports: tuple[int, int] = ALL_PORTS) -> Self:
        """Raises ConfigError if there is no such thing."""
        first, last = ports
        if protocol and protocol not in PROTOCOLS:
            raise ConfigError(f"target {network}: protocol {protocol!r} is none of {', '.join(PROTOCOLS)}")
        if not ALL_PORTS[0] <= first <= last <= ALL_PORTS[1]:
            raise ConfigError(f"target {network}: {first}-{last} is no range of ports")
        if ports != ALL_PORTS and protocol not in ("tcp", "udp"):
            raise ConfigError(f"target {network}: ports need a protocol, tcp or udp")
        return super().__new__(cls, network, protocol, ports)
