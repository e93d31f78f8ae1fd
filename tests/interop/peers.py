"""A client of any SDK, as the tests see it: so that each test runs with every SDK in every role."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import pytest
from _pytest.mark import ParameterSet

Content = str | bytes | None
"""A text, bytes, or None for an acknowledgement."""

# Every operation of these tests takes a few seconds at most; so long on a busy machine.
TIMEOUT = 60.0
# Of the official SDKs, and of ours: how many paths there are.
SUB_CLIENTS = 4


class Kind(enum.Enum):
    """Whose SDK."""

    OURS = "ours"
    JS = "js"
    GO = "go"


OFFICIAL = (Kind.JS, Kind.GO)


def marks(*kinds: Kind) -> list[pytest.MarkDecorator]:
    """Of a test that needs the SDKs of these kinds."""
    return [pytest.mark.go] if Kind.GO in kinds else []


def one_of(*kinds: Kind) -> list[ParameterSet]:
    """Parameters of a test: one kind at a time."""
    return [pytest.param(kind, id=kind.value, marks=marks(kind)) for kind in kinds]


def pairs(first: Iterable[Kind] = Kind, second: Iterable[Kind] = Kind) -> list[ParameterSet]:
    """Parameters of a test: every kind of peer in every role, but ours with ours, which tests/nkn has."""
    return [
        pytest.param(one, other, id=f"{one.value}-{other.value}", marks=marks(one, other))
        for one in first
        for other in second
        if (one, other) != (Kind.OURS, Kind.OURS)
    ]


# What official SDKs among themselves need not show again.
WITH_OURS = [*pairs([Kind.OURS], OFFICIAL), *pairs(OFFICIAL, [Kind.OURS])]


class PeerError(Exception):
    """The operation failed in the peer's SDK."""


@dataclass(frozen=True)
class Received:
    """A message that came unasked."""

    src: str
    content: Content
    encrypted: bool
    no_reply: bool


@dataclass(frozen=True)
class Stream:
    """What was read from a session up to its end."""

    size: int
    sha256: str


class PeerSession(Protocol):
    """One end of a session."""

    @property
    def remote_address(self) -> str:
        """The other end's, without the prefix of a sub-client."""

    async def exchange(self, size: int) -> tuple[str, str]:
        """Write random bytes and meanwhile read as many: SHA-256 of what was sent, and of what came."""

    async def echo(self) -> Stream:
        """Send back what comes, until the peer closes."""

    async def write(self, size: int) -> str:
        """Write random bytes; their SHA-256."""

    async def read(self) -> Stream:
        """Read until the peer closes."""

    async def close(self) -> None:
        """Close, and wait until that is done."""


class Peer(Protocol):
    """A client with four sub-clients."""

    @property
    def kind(self) -> Kind:
        """Whose SDK."""

    @property
    def address(self) -> str:
        """Without the prefix of a sub-client."""

    async def send(
        self,
        dest: str | list[str],
        content: str | bytes,
        *,
        no_reply: bool = False,
        unencrypted: bool = False,
        holding_seconds: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  # each SDK has its own
    ) -> Content:
        """Send a message; the reply. PeerError if none came in time."""

    async def answer(self, mode: str, content: Content = None) -> None:
        """How to answer messages from now on: "ack", at first; "silent"; "reply" with `content`."""

    async def received(self) -> Received:
        """The next message."""

    async def listen(self, *accept: str) -> None:
        """Accept sessions of addresses that a regular expression finds; of everybody without any."""

    async def accept(self) -> PeerSession:
        """The next session that a peer dialled."""

    async def dial(self, dest: str, timeout: float = TIMEOUT) -> PeerSession:  # noqa: ASYNC109
        """Open a session; PeerError if the peer does not answer in time."""
