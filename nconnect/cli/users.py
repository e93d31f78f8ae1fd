"""`nconnect users`: who is let in, and who asks to be."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from nconnect.cli import background
from nconnect.cli.options import add_json
from nconnect.errors import NconnectError
from nconnect.places import Places, places

if TYPE_CHECKING:
    from nconnect.permission.authority import Authority
    from nconnect.permission.grants import Grant
    from nconnect.permission.store import Store
    from nconnect.tunnel.status import KnockStatus, ServeStatus

SCHEMA = 1
PENDING_SECONDS = 7 * 86400
"""Who asked longer ago is not waiting any more; `nconnect log` still knows."""


class UserEntry(msgspec.Struct, frozen=True):
    """A key that was let in, as `--json` shows it."""

    key: str
    name: str
    source: str
    """Who decides about it: policy file, allow, or serve --allow."""
    by: str
    """More of that: an invite's ID, say."""
    state: str
    """allowed, or why not any more: expired, used up, or nothing granted."""
    to: list[str]
    served: bool
    """All that is served, as well as `to`."""
    expires: float | None
    """Unix seconds."""
    rate: int
    """Bits a second each way; 0: no limit."""
    quota: int
    """Bytes; 0: no limit."""
    used: int
    """Of the quota, or ever where there is none."""
    connected: bool
    addresses: list[str]


class PendingEntry(msgspec.Struct, frozen=True):
    """A key that asked to be let in."""

    key: str
    name: str
    """What it calls itself."""
    count: int
    first: float
    """Unix seconds, as is `last`."""
    last: float


class Listing(msgspec.Struct, frozen=True):
    """What `nconnect users --json` prints."""

    users: list[UserEntry]
    pending: list[PendingEntry]
    schema: int = SCHEMA


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect users`."""
    parser.add_argument(
        "--pending", action="store_true", help="Who asked to be let in and is not, and how to let them in."
    )
    parser.add_argument(
        "--trust-clock",
        action="store_true",
        help="This machine's clock is right: let grants end by it, although it has said a later time before.",
    )
    add_json(parser)


def command(pending: bool, trust_clock: bool, as_json: bool) -> None:
    """List who is let in, to what, and what they have used."""
    from nconnect.cli import granting
    from nconnect.permission.authority import Authority
    from nconnect.permission.store import clock_is_behind

    where = places()
    gateway = _gateway(where)
    authority = Authority.open(where, [bytes.fromhex(key) for key in (gateway.given if gateway else ())])
    if trust_clock:
        clock = authority.store.trust_clock()
        granting.tell_gateway(where)
        for line in _granted_after(authority.store, clock):
            print(f"nconnect: warning: {line}", file=sys.stderr)
    now = authority.now()
    if warning := clock_is_behind(now):
        print(f"nconnect: warning: {warning}", file=sys.stderr)
    knocks = _pending(authority, where, gateway, now)
    users = [] if pending else _users(authority, gateway, now)
    authority.close()
    if as_json:
        print(msgspec.json.encode(Listing(users, knocks)).decode())
    elif pending:
        _print_pending(knocks)
    else:
        _print_users(users)
        if knocks:
            print(f"{len(knocks)} not let in: nconnect users --pending", file=sys.stderr)


def _granted_after(store: Store, clock: float) -> Iterator[str]:
    """What was granted by a clock that was ahead, and how to mend it: an end that was counted from there is
    too late.
    """
    from nconnect.cli.granting import date
    from nconnect.permission.issued import issued_after
    from nconnect.permission.store import CLOCK_TOLERANCE

    ahead = clock + CLOCK_TOLERANCE
    for user in store.users():
        if user.since > ahead:
            end = date(user.grant.expires) if user.grant.expires is not None else "revoked"
            yield (
                f"{user.name or 'a user'} {user.key.hex()} was let in by a clock that was ahead, at "
                f"{date(user.since)}, until {end}; allow that key anew, or: nconnect revoke {user.key.hex()}"
            )
    for issued in issued_after(store, ahead):
        invite = issued.invite
        yield (
            f"the invite {invite.id} was made by a clock that was ahead, at {date(issued.issued)}, and is "
            f"open until {date(invite.expires)}: nconnect invite --cancel {invite.id}"
        )


def _gateway(where: Places) -> ServeStatus | None:
    """The state of the gateway that runs here."""
    from nconnect.tunnel import asking
    from nconnect.tunnel.status import ServeStatus, decode

    for name in asking.running(where):
        try:
            status = decode(asking.ask(where, name, "status"))
        except NconnectError:
            continue  # it ends just now, or is of another version
        if isinstance(status, ServeStatus):
            return status
    return None


def _users(authority: Authority, gateway: ServeStatus | None, now: float) -> list[UserEntry]:
    connected = {user.key: user.addresses for user in (gateway.users if gateway else ())}
    stored = {user.key: user.grant for user in authority.store.users()}
    keys = dict.fromkeys([*authority.policy.users, *stored, *authority.given])
    entries = [_entry(authority, key, stored.get(key), connected, now) for key in keys]
    return [entry for entry in entries if entry.state]


def _entry(
    authority: Authority, key: bytes, stored: Grant | None, connected: dict[str, list[str]], now: float
) -> UserEntry:
    from nconnect.permission.decision import RefusalCode, Source
    from nconnect.permission.grants import Grant, format_target

    decision = authority.decide(key, now)
    states = {
        0: "allowed",
        RefusalCode.EXPIRED: "expired",
        RefusalCode.QUOTA: "used up",
        RefusalCode.NOT_ADMITTED: "nothing granted",
    }
    grant = decision.grant or (stored if decision.source is Source.STORE else None) or Grant()
    return UserEntry(
        key=key.hex(),
        name=decision.name,
        source=decision.source,
        by=decision.by,
        state=states.get(decision.code, ""),
        to=[format_target(target) for target in grant.targets],
        served=grant.served or not grant.targets,
        expires=grant.expires,
        rate=grant.rate,
        quota=grant.quota,
        used=decision.used,
        connected=key.hex() in connected,
        addresses=connected.get(key.hex(), []),
    )


def _knock(knock: KnockStatus, now: float) -> PendingEntry:
    return PendingEntry(
        knock.key, knock.name, knock.count, now - knock.first_seconds, now - knock.last_seconds
    )


def _pending(
    authority: Authority, where: Places, gateway: ServeStatus | None, now: float
) -> list[PendingEntry]:
    """Who asked of late and would not be let in now, the latest last."""
    from nconnect.permission.knocks import MAX_KNOCKS

    clock = time.time()
    found = _logged(where, clock - PENDING_SECONDS)
    found |= {knock.key: _knock(knock, clock) for knock in (gateway.knocks if gateway else ())}
    refused = [knock for key, knock in found.items() if not authority.decide(bytes.fromhex(key), now).grant]
    return sorted(refused, key=lambda knock: knock.last)[-MAX_KNOCKS:]


def _logged(where: Places, since: float) -> dict[str, PendingEntry]:
    """Whom gateways refused, as the log tells: the running one knows of its own time only."""
    from nconnect.permission.audit import DIRECTORY, Event
    from nconnect.permission.audit_reader import Reader

    found: dict[str, PendingEntry] = {}
    with Reader(where.state / DIRECTORY) as reader:
        for entry in reader.entries():
            if entry.event == Event.REFUSED and entry.time >= since:
                before = found.get(entry.key)
                count, first = (before.count, before.first) if before else (0, entry.time)
                found[entry.key] = PendingEntry(entry.key, entry.name, count + 1, first, entry.time)
    return found


def _print_users(users: list[UserEntry]) -> None:
    if not users:
        print("nobody is let in; see: nconnect allow --help", file=sys.stderr)
    for user in users:
        print(background.clean(_line(user)))


def _line(user: UserEntry) -> str:
    """One user. Values are never cut: keys are there to be copied."""
    from nconnect.cli.granting import date
    from nconnect.permission.grants import format_rate, format_size

    parts = [f"{user.key} {user.name or '-'} {user.state}"]
    if user.state != "nothing granted":
        parts.append("to " + ", ".join([*(["all that is served"] if user.served else []), *user.to]))
    if user.expires is not None:
        parts.append(f"until {date(user.expires)}")
    if user.rate:
        parts.append(f"at {format_rate(user.rate)}")
    parts.append(f"used {format_size(user.used)}" + (f" of {format_size(user.quota)}" if user.quota else ""))
    if user.connected:
        parts.append(f"connected{' as ' + user.addresses[0] if user.addresses else ''}")
    parts.append(f"by {user.source}" + (f" ({user.by})" if user.by.startswith("invite") else ""))
    return "; ".join(parts)


def _print_pending(knocks: list[PendingEntry]) -> None:
    if not knocks:
        print("nobody asks to be let in", file=sys.stderr)
    for knock in knocks:
        seen = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(knock.last))
        name = f" calls itself {knock.name!r}," if knock.name else ""
        print(background.clean(f"{knock.key}{name} asked {_times(knock.count)}, last at {seen}"))
        # Not with the name: that is the stranger's, and this is to be copied to a shell.
        print(f"  to let it in: nconnect allow {knock.key}")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
