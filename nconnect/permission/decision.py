"""What the authority says of a key: a grant, or why there is none."""

from __future__ import annotations

import enum
from typing import NamedTuple

from nconnect.permission.grants import Grant


class RefusalCode:
    """Why a provider does not admit a user, or no longer; on the wire in Refused."""

    NOT_ADMITTED = 1
    VERSION = 2
    FULL = 3
    BUSY = 4
    KIND = 5
    EXPIRED = 6
    QUOTA = 7
    REVOKED = 8
    INVITE = 9
    """The invite that the user showed is none, or none any more."""


class Source(enum.StrEnum):
    """Who let a key in; where several do, the first of these decides."""

    FILE = "policy file"
    STORE = "allow"
    COMMAND_LINE = "serve --allow"
    NOBODY = ""


class Decision(NamedTuple):
    """What a key gets at one moment."""

    grant: Grant | None
    """None: it is not let in."""
    name: str = ""
    source: Source = Source.NOBODY
    by: str = ""
    """More of the source: the line of the policy file, "allow", "invite:ID"."""
    until: float | None = None
    """When to decide again, at the latest (Unix seconds)."""
    used: int = 0
    """Bytes that count towards the grant's quota."""
    code: int = 0
    """A `RefusalCode`, if it is not let in."""
    reason: str = ""
    """The same in words, for the user."""
