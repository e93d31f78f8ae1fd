"""Control messages as frozen dataclasses, and their protobuf encoding (control.proto).

Decoding is where what a peer says becomes typed and bounded: addresses are parsed, lists and strings have
limits, and what this version does not know decodes to None and is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, TypeVar

from google.protobuf.message import DecodeError as ProtobufDecodeError

from nconnect.config import MAX_MTU, MIN_MTU
from nconnect.errors import ConfigError, DecodeError, UsageError
from nconnect.host.user_rules import Mapping
from nconnect.names import zone
from nconnect.permission.decision import RefusalCode as RefusalCode
from nconnect.tunnel import control_pb2 as pb

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
T = TypeVar("T")

VERSION_MAJOR = 1
VERSION_MINOR = 0

CAPABILITY_USO = "uso"
"""This side's kernel takes UDP segmentation offload (virtio GSO_UDP_L4, Linux 6.2) through its TUN device."""

CAPABILITY_FORWARD = "forward"
"""In Hello: this link is to carry connections and datagrams (`nconnect.forward`), not packets; in Welcome: it
does. The capability is the kind of the link, so each side says it or refuses the other."""

CAPABILITY_MAP = "map"
"""In Welcome: the provider translates prefixes (`Mappings`)."""

MAX_LIST = 1024
"""Entries in any list of a message: more routes than any LAN has, far fewer than hurt."""
MAX_TEXT = 256
"""Characters of a name or reason that are kept."""
MAX_INVITE = 4096
"""Bytes of an invite's token; ours have some 200, those of a later version may have more."""
MAX_MAPPINGS = 64
"""Each costs the provider's kernel a rule; a LAN has a few prefixes."""


@dataclass(frozen=True)
class Hello:
    """The user's first message: what it speaks and what it calls its machine."""

    capabilities: frozenset[str] = frozenset()
    name: str = ""
    invite_token: bytes = field(default=b"", repr=False)
    """A secret; empty: none."""
    mappings: tuple[Mapping, ...] = ()
    """Those of an earlier link, so that its flows go on."""
    version: tuple[int, int] = (VERSION_MAJOR, VERSION_MINOR)


@dataclass(frozen=True)
class Host:
    """A name that the provider gives to addresses behind it."""

    name: str
    """One label."""
    addresses: tuple[IPAddress, ...]


@dataclass(frozen=True)
class Welcome:
    """The provider's answer to a user whom it admits."""

    addresses: tuple[IPAddress, ...]
    gateways: tuple[IPAddress, ...]
    mtu: int
    routes: tuple[IPNetwork, ...]
    capabilities: frozenset[str] = frozenset()
    name: str = ""
    dns: tuple[IPAddress, ...] = ()
    """Resolvers behind the provider."""
    domains: tuple[str, ...] = ()
    """What the resolvers know; the first is where the hosts are."""
    hosts: tuple[Host, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    """Of those in Hello, the ones in force."""
    version: tuple[int, int] = (VERSION_MAJOR, VERSION_MINOR)


@dataclass(frozen=True)
class Refused:
    """The provider's answer to anybody else."""

    code: int
    reason: str


@dataclass(frozen=True)
class RoutesChanged:
    """The prefixes behind the provider from now on."""

    routes: tuple[IPNetwork, ...]


@dataclass(frozen=True)
class Mappings:
    """From the user: all that it wishes, instead of what it wished before. From the provider, an answer to
    each such wish: those in force now."""

    mappings: tuple[Mapping, ...]
    reason: str = ""
    """Why one is not in force; empty if all are."""


@dataclass(frozen=True)
class Ping:
    """Are you there? The answer carries the same token."""

    token: int


@dataclass(frozen=True)
class Pong:
    """I am here."""

    token: int


@dataclass(frozen=True)
class Rekey:
    """The sender's data keys are of this epoch from now on."""

    epoch: int


@dataclass(frozen=True)
class Bye:
    """The sender ends the session on purpose."""

    reason: str


ControlMessage = Hello | Welcome | Refused | RoutesChanged | Mappings | Ping | Pong | Rekey | Bye


def encode(message: ControlMessage) -> bytes:
    """The protobuf bytes of `message`."""
    control = pb.Control()
    match message:
        case Hello():
            control.hello.version.major, control.hello.version.minor = message.version
            control.hello.capabilities.extend(sorted(message.capabilities))
            control.hello.name = message.name
            control.hello.invite_token = message.invite_token
            _add_mappings(control.hello, message.mappings)
        case Welcome():
            welcome = control.welcome
            welcome.version.major, welcome.version.minor = message.version
            welcome.capabilities.extend(sorted(message.capabilities))
            welcome.name = message.name
            welcome.addresses.extend(map(str, message.addresses))
            welcome.gateways.extend(map(str, message.gateways))
            welcome.mtu = message.mtu
            welcome.routes.extend(map(str, message.routes))
            welcome.dns.extend(map(str, message.dns))
            welcome.domains.extend(message.domains)
            for host in message.hosts:
                welcome.hosts.add(name=host.name, addresses=map(str, host.addresses))
            _add_mappings(welcome, message.mappings)
        case Refused():
            control.refused.code, control.refused.reason = message.code, message.reason
        case RoutesChanged():
            control.routes_changed.SetInParent()
            control.routes_changed.routes.extend(map(str, message.routes))
        case Mappings():
            control.mappings.reason = message.reason
            control.mappings.SetInParent()
            _add_mappings(control.mappings, message.mappings)
        case Ping():
            control.ping.token = message.token
            control.ping.SetInParent()
        case Pong():
            control.pong.token = message.token
            control.pong.SetInParent()
        case Rekey():
            control.rekey.epoch = message.epoch
            control.rekey.SetInParent()
        case Bye():
            control.bye.reason = message.reason
            control.bye.SetInParent()
    return control.SerializeToString()


def decode(data: bytes) -> ControlMessage | None:
    """The message in `data`; None for a kind that this version does not know.

    Raises:
        DecodeError: not protobuf, an address or prefix that is none, a list or MTU beyond its limits.
    """
    try:
        control = pb.Control.FromString(data)
    except ProtobufDecodeError as error:
        raise DecodeError("control message is not valid protobuf") from error
    kind = control.WhichOneof("body")
    decoder = _DECODERS.get(kind or "")
    return decoder(getattr(control, kind)) if decoder and kind else None


def _hello(hello: pb.Hello) -> Hello:
    if len(hello.invite_token) > MAX_INVITE:
        raise DecodeError(f"control message has an invite of {len(hello.invite_token)} bytes")
    return Hello(
        frozenset(_bounded(hello.capabilities)),
        printable(hello.name),
        bytes(hello.invite_token),
        _mappings(hello.mappings),
        (hello.version.major, hello.version.minor),
    )


def _welcome(welcome: pb.Welcome) -> Welcome:
    if not MIN_MTU <= welcome.mtu <= MAX_MTU:
        raise DecodeError(
            f"the provider announces an MTU of {welcome.mtu}; {MIN_MTU} to {MAX_MTU} is possible"
        )
    return Welcome(
        addresses=_addresses(welcome.addresses),
        gateways=_addresses(welcome.gateways),
        mtu=welcome.mtu,
        routes=_networks(welcome.routes),
        capabilities=frozenset(_bounded(welcome.capabilities)),
        name=printable(welcome.name),
        dns=_addresses(welcome.dns),
        domains=tuple(_domain(text) for text in _bounded(welcome.domains, zone.MAX_DOMAINS)),
        hosts=tuple(_host(host) for host in _bounded(welcome.hosts, zone.MAX_HOSTS)),
        mappings=_mappings(welcome.mappings),
        version=(welcome.version.major, welcome.version.minor),
    )


_DECODERS: dict[str, Callable[[Any], ControlMessage]] = {
    "hello": _hello,
    "welcome": _welcome,
    "refused": lambda refused: Refused(refused.code, printable(refused.reason)),
    "routes_changed": lambda changed: RoutesChanged(_networks(changed.routes)),
    "mappings": lambda answer: Mappings(_mappings(answer.mappings), printable(answer.reason)),
    "ping": lambda ping: Ping(ping.token),
    "pong": lambda pong: Pong(pong.token),
    "rekey": lambda rekey: Rekey(rekey.epoch),
    "bye": lambda bye: Bye(printable(bye.reason)),
}


def printable(text: str) -> str:
    """`text` as it may be shown on a terminal: bounded, without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_TEXT])


def _bounded(values: Iterable[T], limit: int = MAX_LIST) -> list[T]:
    result = list(values)
    if len(result) > limit:
        raise DecodeError(f"control message has a list of {len(result)} entries; {limit} is the limit")
    return result


def _domain(text: str) -> str:
    try:
        return zone.parse_domain(text)
    except UsageError as error:
        raise DecodeError(f"control message: {printable(str(error))}") from error


def _host(host: pb.Host) -> Host:
    try:
        name = zone.parse_label(host.name)
    except UsageError as error:
        raise DecodeError(f"control message: {printable(str(error))}") from error
    return Host(name, _addresses(host.addresses, zone.MAX_ADDRESSES))


def _add_mappings(message: pb.Hello | pb.Welcome | pb.Mappings, mappings: Iterable[Mapping]) -> None:
    for one in mappings:
        message.mappings.add(real=str(one.real), seen=str(one.seen))


def _mappings(values: Iterable[pb.Mapping]) -> tuple[Mapping, ...]:
    pairs = [_networks((one.real, one.seen)) for one in _bounded(values, MAX_MAPPINGS)]
    try:
        return tuple(Mapping(real, seen) for real, seen in pairs)
    except ConfigError as error:
        raise DecodeError(f"control message: {error}") from error


def _addresses(values: Iterable[str], limit: int = MAX_LIST) -> tuple[IPAddress, ...]:
    try:
        return tuple(ip_address(value) for value in _bounded(values, limit))
    except ValueError as error:
        raise DecodeError(f"control message has a wrong address: {printable(str(error))}") from error


def _networks(values: Iterable[str]) -> tuple[IPNetwork, ...]:
    try:
        return tuple(ip_network(value) for value in _bounded(values))
    except ValueError as error:
        raise DecodeError(f"control message has a wrong prefix: {printable(str(error))}") from error
