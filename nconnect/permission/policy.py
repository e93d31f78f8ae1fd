"""What a policy file says, whoever has read it; `policy_file` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from nconnect.host.grants import Target
from nconnect.permission.decision import Decision, RefusalCode, Source
from nconnect.permission.grants import Grant


class FileUser(NamedTuple):
    """A user whom the file names."""

    name: str
    key: bytes
    grants: tuple[Grant, ...]
    where: str = ""
    """File and line that name the user."""

    def decide(self, now: float) -> Decision:
        """What the file says of this user at `now`, whatever was used so far."""
        active = [grant for grant in self.grants if grant.expires is None or now < grant.expires]
        if not active:
            code, reason = RefusalCode.NOT_ADMITTED, "the provider's policy grants your key nothing"
            if self.grants:
                code, reason = RefusalCode.EXPIRED, "what you were granted has expired"
            return Decision(None, self.name, Source.FILE, self.where, code=code, reason=reason)
        ends = [grant.expires for grant in active if grant.expires is not None]
        grant = Grant(
            targets=tuple(dict.fromkeys(target for grant in active for target in grant.targets)),
            expires=max(ends) if len(ends) == len(active) else None,
            rate=_most(grant.rate for grant in active),
            quota=_most(grant.quota for grant in active),
            served=any(grant.served or not grant.targets for grant in active),
        )
        return Decision(grant, self.name, Source.FILE, self.where, until=min(ends, default=None))


def _most(limits: Iterator[int]) -> int:
    """The most generous limit; 0 is none."""
    known = list(limits)
    return 0 if 0 in known else max(known)


class PolicyFile(NamedTuple):
    """What the file says."""

    path: Path
    users: Mapping[bytes, FileUser] = MappingProxyType({})
    services: Mapping[str, tuple[Target, ...]] = MappingProxyType({})

    def find_name(self, name: str) -> FileUser | None:
        """The user of that name."""
        return next((user for user in self.users.values() if user.name == name), None)

    def grants(self, key: bytes) -> tuple[Grant, ...] | None:
        """What the file grants a key; None if it does not name it, and something else may."""
        user = self.users.get(key)
        return None if user is None else user.grants

    def where(self, user: FileUser) -> str:
        """File and line that name a user."""
        return user.where
