"""What a user is granted, and how people write it: targets, durations, rates and sizes.

============================  =============================================================
192.168.1.20                  everything at one address
192.168.1.20:11434/tcp        one port
192.168.1.20:8000-8010/udp    a range of ports
[fd00::20]:80/tcp             IPv6 with a port, in brackets
192.168.1.0/24                everything in a network
192.168.1.0/24:80/tcp         one port at each of its addresses
192.168.1.20/icmp             ping, and nothing else
============================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from nconnect.errors import UsageError
from nconnect.host.grants import ALL_PORTS, PROTOCOLS, Target

MAX_TARGETS = 256
"""Of one user: each is an element of a set in the kernel, and a route on the user's machine."""
MAX_TEXT = 128
"""Characters of anything that is parsed here; the longest sensible one has some 60."""
MAX_RATE = 10**12
MAX_SIZE = 1 << 62
"""Bytes; what a 64-bit counter in the store can still add to."""
MAX_SECONDS = 100 * 366 * 86400

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_NUMBER = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", re.ASCII)

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BITS = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}


class Grant(NamedTuple):
    """What one user may do."""

    targets: tuple[Target, ...] = ()
    """Where to; empty: all that is served."""
    expires: float | None = None
    """Unix seconds; None: never."""
    rate: int = 0
    """Bits a second in each direction; 0: no limit."""
    quota: int = 0
    """Bytes, both directions together; 0: no limit."""
    served: bool = False
    """All that is served, as well as `targets`."""

    def reaches(self, served: Iterable[IPv4Network | IPv6Network]) -> tuple[Target, ...]:
        """All targets, where `served` is what the provider serves."""
        every = tuple(map(Target, served)) if self.served or not self.targets else ()
        return every + self.targets


def parse_target(text: str) -> Target:
    """Where to, as the table above has it.

    Raises:
        UsageError: it is none of these; the message quotes it and shows a right one.
    """
    where, protocol = _split_protocol(text)
    where, ports = _split_ports(text, where)
    if protocol and protocol not in PROTOCOLS:
        raise _wrong_target(text, f"{protocol!r} is none of {', '.join(PROTOCOLS)}")
    if ports is not None and protocol not in ("tcp", "udp"):
        raise _wrong_target(text, "of what are the ports? add /tcp or /udp")
    return Target(_parse_network(text, where), protocol, ports or ALL_PORTS)


def format_target(target: Target) -> str:
    """What `parse_target` reads."""
    network = target.network
    where = str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
    protocol = f"/{target.protocol}" if target.protocol else ""
    if target.ports == ALL_PORTS:
        return where + protocol
    first, last = target.ports
    host = f"[{where}]" if network.version == 6 else where
    return f"{host}:{first}{'' if first == last else f'-{last}'}{protocol}"


def parse_targets(texts: Iterable[str]) -> tuple[Target, ...]:
    """Several of them, each once.

    Raises:
        UsageError: one is wrong, or they are too many.
    """
    targets = tuple(dict.fromkeys(map(parse_target, texts)))
    if len(targets) > MAX_TARGETS:
        raise UsageError(f"{len(targets)} targets for one user; {MAX_TARGETS} is the limit, name networks")
    return targets


def parse_duration(text: str) -> int:
    """Seconds of `90s`, `30m`, `1h`, `7d` or `2w`.

    Raises:
        UsageError: it is none of them.
    """
    seconds = _quantity(text, _SECONDS)
    if seconds is None or not 1 <= seconds <= MAX_SECONDS:
        raise _wrong(text, "a duration", "30m, 1h, 7d or 2w")
    return seconds


def parse_rate(text: str) -> int:
    """Bits a second of `500kbit`, `50mbit` or `1gbit`.

    Raises:
        UsageError: it is none of them.
    """
    rate = _quantity(text, _BITS)
    if rate is None or not 1 <= rate <= MAX_RATE:
        raise _wrong(text, "a rate in bits a second", "500kbit, 50mbit or 1gbit")
    return rate


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `100GB`, `1TB` (powers of 1000), or `64GiB` (of 1024).

    Raises:
        UsageError: it is none of them.
    """
    size = _quantity(text, _BYTES)
    if size is None or not 1 <= size <= MAX_SIZE:
        raise _wrong(text, "a size in bytes", "500MB, 100GB or 1TiB")
    return size


def format_rate(rate: int) -> str:
    """What `parse_rate` reads; the largest unit that leaves no fraction."""
    return _in_units(rate, {"gbit": 10**9, "mbit": 10**6, "kbit": 10**3, "bit": 1})


def format_duration(seconds: int) -> str:
    """What `parse_duration` reads; the largest unit that leaves no fraction."""
    return _in_units(seconds, {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1})


def format_size(size: int) -> str:
    """What `parse_size` reads, with two decimals at most: for people."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.2f}".rstrip("0").rstrip(".") + unit
    return f"{size}B"


def _split_protocol(text: str) -> tuple[str, str]:
    if len(text) > MAX_TEXT:
        raise _wrong_target(text[:MAX_TEXT] + "…", "it is too long")
    where, slash, protocol = text.rpartition("/")
    return (where, protocol.lower()) if slash and protocol.isalpha() else (text, "")


def _split_ports(text: str, where: str) -> tuple[str, tuple[int, int] | None]:
    """The network, and the ports if any are named."""
    if where.startswith("["):
        network, bracket, rest = where[1:].partition("]")
        if not bracket or ":" not in network or (rest and not rest.startswith(":")):
            raise _wrong_target(text, "brackets are for an IPv6 address before its port")
        return (network, _parse_ports(text, rest[1:])) if rest else (network, None)
    if where.count(":") == 1:
        network, _, ports = where.partition(":")
        return network, _parse_ports(text, ports)
    return where, None


def _parse_ports(text: str, ports: str) -> tuple[int, int]:
    match = _PORTS.fullmatch(ports)
    if match is None:
        raise _wrong_target(text, f"{ports!r} is not a port, and no range of ports")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= ALL_PORTS[1]:
        raise _wrong_target(text, "ports go from 1 to 65535, the lower one first")
    return first, last


def _parse_network(text: str, where: str) -> IPv4Network | IPv6Network:
    if "%" in where:
        raise _wrong_target(text, "a scope (%) means something on one machine only")
    try:
        network = ip_network(where)
    except ValueError as error:
        try:
            meant = ip_network(where, strict=False)
        except ValueError:
            raise _wrong_target(text, "it begins with neither an address nor a network") from error
        raise _wrong_target(text, f"it has bits set beyond its prefix; did you mean {meant}?") from error
    if network.prefixlen == network.max_prefixlen:
        if network.network_address.is_unspecified:
            raise _wrong_target(text, f"{where} is nobody's address")
        if isinstance(network, IPv6Network) and (mapped := network.network_address.ipv4_mapped):
            raise _wrong_target(text, f"write {mapped} instead of {where}")
    return network


def _wrong_target(text: str, why: str) -> UsageError:
    return UsageError(
        f"{text!r} is not a target: {why}; write for instance 192.168.1.20, 192.168.1.0/24, "
        "192.168.1.20:443/tcp or [fd00::20]:443/tcp"
    )


def _wrong(text: str, what: str, examples: str) -> UsageError:
    return UsageError(f"{text[:MAX_TEXT]!r} is not {what}; write for instance {examples}")


def _quantity(text: str, units: dict[str, int]) -> int | None:
    """A number with one of `units`, rounded; None if it is none."""
    match = _NUMBER.fullmatch(text)
    factor = units.get(match[2].lower()) if match else None
    return round(float(match[1]) * factor) if match and factor else None


def _in_units(value: int, units: dict[str, int]) -> str:
    unit, factor = next((unit, factor) for unit, factor in units.items() if value % factor == 0)
    return f"{value // factor}{unit}"
