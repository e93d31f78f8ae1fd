"""Names of addresses: 20.1.168.192.in-addr.arpa is 192.168.1.20 (RFC 1035, 3.5; RFC 3596, 2.5)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

V4, V6 = ".in-addr.arpa", ".ip6.arpa"
MAX_PIECES = 16
"""Domains that one network may need: theirs end at octets or hexadecimal digits, a network may not. One that
needs more gets none, or a system resolver would have hundreds to compare."""


def address_of(name: str) -> IPv4Address | IPv6Address | None:
    """The address that `name` (lower case, no dot at the end) is of; None if it is of none."""
    try:
        if name.endswith(V4):
            return IPv4Address(".".join(reversed(name.removesuffix(V4).split("."))))
        if name.endswith(V6):
            digits = name.removesuffix(V6).split(".")
            if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                return IPv6Address(int("".join(reversed(digits)), 16))
    except ValueError:
        pass
    return None


def domains_of(network: IPv4Network | IPv6Network) -> list[str]:
    """The domains that the names of the network's addresses are in; none if they would be too many."""
    step = 8 if network.version == 4 else 4
    length = max(-(-network.prefixlen // step) * step, step)
    if 1 << (length - network.prefixlen) > MAX_PIECES:
        return []
    return [
        _domain(ip_address(piece.network_address), length // step)
        for piece in network.subnets(new_prefix=length)
    ]


def _domain(address: IPv4Address | IPv6Address, labels: int) -> str:
    whole = address.reverse_pointer.split(".")
    top = 2  # in-addr.arpa, ip6.arpa
    return ".".join(whole[len(whole) - top - labels :])
