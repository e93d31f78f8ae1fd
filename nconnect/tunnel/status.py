"""What a running instance says of itself: the stable interface behind `status --json`.

Fields are added, never renamed; a change that breaks readers raises `schema`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from nconnect.errors import DecodeError

if TYPE_CHECKING:
    from nconnect.nkn.multiclient import MultiClient  # `nconnect status` shall not wait for its import
    from nconnect.nkn.session import Session
    from nconnect.tunnel.link import Link

SCHEMA = 1


class PathStatus(msgspec.Struct, frozen=True):
    """One sub-client's way to its relay node."""

    index: int
    node: str
    """host:port of the relay, empty while it is not known."""
    state: str
    bytes_in: int
    bytes_out: int
    error: str
    """Why the last connection or attempt ended; empty if none has."""
    in_use: bool = False
    """Whether packets to the peer take it."""
    seconds: float = 0.0
    """Since it last became ready, or ceased to be."""
    was_ready: bool = True
    """Whether it is, or ever was."""


class RouteStatus(msgspec.Struct, frozen=True):
    """A prefix that the provider offers."""

    prefix: str
    installed: bool
    """By this very name; `UpStatus.mappings` has those with others."""
    reason: str = ""
    """Why it is left out."""


class NamesStatus(msgspec.Struct, frozen=True):
    """The provider's names on the user's machine."""

    via: str
    """Who asks our resolver: systemd-resolved, /etc/resolv.conf; empty: nobody."""
    reason: str
    """Why programs do not know the names; empty if they do."""
    server: str
    """host:port of our resolver."""
    hosts: list[str]
    """Names that the provider gave, and this machine's own there."""
    domains: list[str]
    """Domains in which the provider's resolvers are asked."""
    resolvers: list[str]
    """The provider's, as this machine reaches them."""
    left_out: list[str] = []
    """Domains that the provider does not have here, and why."""


class MappingStatus(msgspec.Struct, frozen=True):
    """A prefix of the provider's that has another name here."""

    real: str
    seen: str


class UserStatus(msgspec.Struct, frozen=True):
    """A user as the provider sees them."""

    key: str
    name: str
    addresses: list[str]
    key_exchange_group: str
    connected_seconds: float
    silent_seconds: float
    bytes_in: int
    bytes_out: int
    rtt_ms: float | None = None
    connections: int | None = None
    """Open TCP connections, where the provider makes them itself (`serve --no-tun`)."""


class HeldStatus(msgspec.Struct, frozen=True):
    """The lease of a user who is not there."""

    key: str
    addresses: list[str]
    seconds: float
    """Until it ends, and its connections with it."""


class KnockStatus(msgspec.Struct, frozen=True):
    """An unknown key that asked to be let in."""

    key: str
    name: str
    count: int
    first_seconds: float = 0.0
    """Since it asked first."""
    last_seconds: float = 0.0
    """Since it asked last."""


class UpStatus(msgspec.Struct, frozen=True, tag="up", tag_field="role"):
    """A user's side: `nconnect up`."""

    schema: int
    name: str
    pid: int
    state: str
    """connecting, connected, degraded, reconnecting, refused."""
    reason: str
    """Why the state is not connected."""
    address: str
    peer: str
    peer_name: str
    interface: str
    addresses: list[str]
    gateways: list[str]
    routes: list[RouteStatus]
    key_exchange_group: str
    paths: list[PathStatus]
    connected_seconds: float
    silent_seconds: float | None
    """Since the last proof that the provider is alive; None: there never was one."""
    bytes_in: int
    bytes_out: int
    packets: dict[str, int]
    rtt_ms: float | None = None
    names: NamesStatus | None = None
    """None: `up --no-names`."""
    mappings: list[MappingStatus] = []
    state_seconds: float = 0.0
    """In this state."""


class ServeStatus(msgspec.Struct, frozen=True, tag="serve", tag_field="role"):
    """A provider's side: `nconnect serve`."""

    schema: int
    name: str
    pid: int
    state: str
    """connecting, serving, degraded, reconnecting."""
    reason: str
    """Why the state is not serving."""
    address: str
    interface: str
    """Empty without a TUN device (`serve --no-tun`), as is `pool`."""
    lan: list[str]
    pool: list[str]
    allowed: int
    """Keys that are let in."""
    users: list[UserStatus]
    knocks: list[KnockStatus]
    paths: list[PathStatus]
    packets: dict[str, int]
    held: list[HeldStatus] = []
    given: list[str] = []
    """Of the allowed, the keys of `serve --allow`."""
    state_seconds: float = 0.0
    """In this state."""


class SocksStatus(msgspec.Struct, frozen=True, tag="socks", tag_field="role"):
    """A user's side without a TUN device: `nconnect socks`."""

    schema: int
    name: str
    pid: int
    state: str
    """connecting, connected, degraded, reconnecting, refused."""
    reason: str
    """Why the state is not connected."""
    address: str
    listen: str
    """host:port of the proxy."""
    peer: str
    peer_name: str
    networks: list[str]
    """The prefixes that the provider connects to."""
    key_exchange_group: str
    paths: list[PathStatus]
    connected_seconds: float
    silent_seconds: float | None
    """Since the last proof that the provider is alive; None: there never was one."""
    connections: int
    """Open now."""
    associations: int
    """Programs that exchange datagrams now."""
    bytes_in: int
    bytes_out: int
    rtt_ms: float | None = None
    state_seconds: float = 0.0
    """In this state."""


class TunnelStatus(msgspec.Struct, frozen=True, tag="tunnel", tag_field="role"):
    """One end of `nconnect tunnel`."""

    schema: int
    name: str
    pid: int
    state: str
    """connecting, serving, degraded, reconnecting."""
    reason: str
    """Why the state is not serving."""
    address: str
    source: str
    """Where connections come from: host:port, or nkn."""
    target: str
    """Where they go: host:port, or an NKN address."""
    accept: list[str]
    """Regular expressions for the NKN addresses that are let in."""
    udp: bool
    paths: list[PathStatus]
    connections: int
    """Open now."""
    flows: int
    """Flows of datagrams that are not idle."""
    failures: int
    """Connections that could not be made."""
    last_failure: str
    bytes_in: int
    """From the NKN network."""
    bytes_out: int
    state_seconds: float = 0.0
    """In this state."""


Status = UpStatus | ServeStatus | SocksStatus | TunnelStatus


def decode(data: bytes) -> Status:
    """The status in a control socket's answer.

    Raises:
        DecodeError: it is none.
    """
    try:
        status: Status = msgspec.json.decode(data, type=Status)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise DecodeError(
            f"the instance answers what this version does not understand ({error}); start it again"
        ) from error
    return status


def paths(client: MultiClient, session: Session | None = None) -> list[PathStatus]:
    """The state of each sub-client; `session` is the one whose paths are in use."""
    used = {path.index for path in session.paths if path.ready and not path.suspect} if session else set()
    now = time.monotonic()
    return [
        PathStatus(
            path.index,
            path.node,
            path.state.value,
            path.bytes_received,
            path.bytes_sent,
            path.error,
            path.index in used,
            max(now - path.turned, 0.0),
            path.was_ready,
        )
        for path in client.paths
    ]


def user(
    link: Link,
    name: str,
    now: float,
    since: float,
    addresses: Iterable[object] = (),
    connections: int | None = None,
) -> UserStatus:
    """A user of this link, connected `since`; times are the loop's."""
    return UserStatus(
        key=link.remote_public_key.hex(),
        name=name,
        addresses=list(map(str, addresses)),
        key_exchange_group=link.key_exchange_group,
        connected_seconds=now - since,
        silent_seconds=now - link.last_received,
        bytes_in=link.bytes_in,
        bytes_out=link.bytes_out,
        rtt_ms=None if link.rtt is None else link.rtt * 1000,
        connections=connections,
    )
