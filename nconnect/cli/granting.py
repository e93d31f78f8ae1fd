"""What `allow`, `revoke`, `invite`, `users` and `log` share."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nconnect.errors import ConfigError, UsageError
from nconnect.places import Places

if TYPE_CHECKING:
    from nconnect.host.grants import Target
    from nconnect.permission.audit import Audit
    from nconnect.permission.grants import Grant
    from nconnect.permission.policy import PolicyFile


def policy(where: Places) -> PolicyFile:
    """The policy file; one that is not there names nobody.

    One that is wrong is warned of, and hinders nobody from revoking; what a gateway then does with a key is
    decided by what the file said when it was last right.
    """
    from nconnect.permission.policy import PolicyFile

    nothing = PolicyFile(where.policy)
    if not os.path.lexists(where.policy):
        return nothing  # and nobody waits for its reader to be loaded
    from nconnect.permission import policy_file

    try:
        return policy_file.load(where.policy)
    except ConfigError as error:
        print(f"nconnect: warning: {error}", file=sys.stderr)
        return nothing


def named_in_file(policy: PolicyFile, key_or_name: bytes | str) -> str:
    """File and line where the policy names this key, or user; empty if it does not."""
    user = policy.users.get(key_or_name) if isinstance(key_or_name, bytes) else policy.find_name(key_or_name)
    return policy.where(user) if user is not None else ""


def check_name(policy: PolicyFile, name: str) -> None:
    """See that a user may be called so; the empty name is none.

    Raises:
        UsageError: it is no name, or a user of the policy file has it.
    """
    from nconnect.permission import keys

    if name:
        keys.check_name(name)
        named = named_in_file(policy, name)
        if named:
            raise UsageError(f"{named} calls another user {name}; choose another --name")


def targets(policy: PolicyFile, words: Sequence[str]) -> tuple[Target, ...]:
    """What `--to` names: targets, and services of the policy file as they are now.

    Raises:
        UsageError: a word is neither.
    """
    from nconnect.permission.grants import format_target, parse_target, parse_targets

    texts = list[str]()
    for word in words:
        service = policy.services.get(word)
        try:
            texts += (
                map(format_target, service) if service is not None else [format_target(parse_target(word))]
            )
        except UsageError as error:
            if not policy.services:
                raise
            known = ", ".join(policy.services)
            raise UsageError(f"{error}; or a service of {policy.path}, which has {known}") from error
    return parse_targets(texts)


def tell_gateway(where: Places) -> list[str]:
    """Have what was changed hold now, where a gateway runs; what it warns of."""
    from nconnect.tunnel.asking import tell_permissions_changed

    return [line for lines in tell_permissions_changed(where).values() for line in lines]


def audit(where: Places) -> Audit:
    """Where to write what was done."""
    from nconnect.permission.audit import DIRECTORY, Audit

    return Audit(where.state / DIRECTORY, lambda line: print(f"nconnect: {line}", file=sys.stderr))


def describe(grant: Grant) -> str:
    """A grant in words."""
    from nconnect.permission.grants import format_target

    targets = list(map(format_target, grant.targets))
    return in_words(targets, grant.expires, grant.rate, grant.quota, served=grant.served)


def in_words(
    targets: Sequence[str], expires: float | None, rate: int, quota: int, *, served: bool = False
) -> str:
    """The same, of what a grant holds; no target: all that is served."""
    from nconnect.permission.grants import format_rate, format_size

    everything = ["all that is served"] if served or not targets else []
    parts = [", ".join([*everything, *targets])]
    if expires is not None:
        parts.append(f"until {date(expires)}")
    if rate:
        parts.append(f"at {format_rate(rate)}")
    if quota:
        parts.append(f"up to {format_size(quota)}")
    return "; ".join(parts)


def date(seconds: float) -> str:
    """A time for people; UTC, as in logs."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
