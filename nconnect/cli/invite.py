"""`nconnect invite`: one string that lets somebody in, whose key need not be known."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from nconnect.cli import background, granting
from nconnect.cli.options import add_json, add_rate, add_to, split_commas
from nconnect.errors import UsageError
from nconnect.places import places

if TYPE_CHECKING:
    from nconnect.host.grants import Target
    from nconnect.permission.audit import Audit
    from nconnect.permission.grants import Grant
    from nconnect.permission.invites import Invite
    from nconnect.permission.issued import Invites, Issued

SCHEMA = 1


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect invite`."""
    add_to(parser)
    parser.add_argument(
        "--expires",
        metavar="TIME",
        default="1d",
        help="How long the invite can be used, e.g. 1h or 7d. [default: %(default)s]",
    )
    parser.add_argument(
        "--for",
        dest="lasting",
        metavar="TIME",
        help="How long its user stays let in; default: no end.",
    )
    parser.add_argument("--once", action="store_true", help="Only the first who uses it is let in.")
    parser.add_argument("--name", default="", help="What to call the user.")
    add_rate(parser)
    parser.add_argument("--quota", metavar="BYTES", help="Bytes, both ways together, e.g. 100GB.")
    parser.add_argument("--qr", action="store_true", help="Show it as a QR code as well.")
    parser.add_argument(
        "--list", dest="listing", action="store_true", help="List the invites that have not expired."
    )
    parser.add_argument("--cancel", metavar="ID", help="Let nobody else in by this invite.")
    add_json(parser)


def command(
    to: list[str] | None,
    expires: str,
    lasting: str | None,
    once: bool,
    name: str,
    rate: str | None,
    quota: str | None,
    qr: bool,
    listing: bool,
    cancel: str | None,
    as_json: bool,
) -> None:
    """Print an invite: who has it connects with `nconnect up --invite`, and their key is let in.

    An invite is a secret. The gateway need not run now; it must when the invite is used.
    """
    from nconnect.permission import grants
    from nconnect.permission.issued import Invites
    from nconnect.permission.store import FILE_NAME, Store
    from nconnect.tunnel.identity import load_or_create

    if as_json and not listing:
        raise UsageError("--json is for --list; the invite itself is one line on stdout")
    if listing and cancel is not None:
        raise UsageError("either --list or --cancel")
    where = places()
    key = load_or_create(where.state)
    audit = granting.audit(where)
    with Store(where.state / FILE_NAME) as store:
        invites, now = Invites(store, key), store.now()
        if listing:
            _print_list(invites.all(now), as_json)
        elif cancel is not None:
            _cancel(invites, audit, cancel, now)
        else:
            policy = granting.policy(where)
            granting.check_name(policy, name)
            targets = granting.targets(policy, split_commas(to)) if to else ()
            until = store.end_of(grants.parse_duration(expires))
            invite = _invite(key.public_key, until, targets, lasting, once, name, rate, quota)
            text = invites.issue(invite, now)
            _audit(audit, "invited", invite)
            _show(invite, text, qr)


def _invite(
    provider: bytes,
    until: float,
    targets: tuple[Target, ...],
    lasting: str | None,
    once: bool,
    name: str,
    rate: str | None,
    quota: str | None,
) -> Invite:
    from nconnect.permission import grants
    from nconnect.permission.invites import Invite, new_nonce

    return Invite(
        provider=provider,
        nonce=new_nonce(),
        expires=int(until),
        once=once,
        name=name,
        targets=tuple(map(grants.format_target, targets)),
        seconds=grants.parse_duration(lasting) if lasting is not None else 0,
        rate=grants.parse_rate(rate) if rate is not None else 0,
        quota=grants.parse_size(quota) if quota is not None else 0,
    )


def _show(invite: Invite, text: str, qr: bool) -> None:
    """The string on stdout, for a program to take; all else on stderr, for people."""
    print(text)
    if qr:
        _print_qr(text)
    hints = (
        f"for {_whom(invite)}, until {granting.date(invite.expires)}: {_what(invite)}",
        "the user runs: sudo nconnect up --invite -    and pastes it; whoever has it can, so send it safely",
        f"to take it back: nconnect invite --cancel {invite.id}",
    )
    for line in hints:
        print(line, file=sys.stderr)


def _print_qr(text: str) -> None:
    import segno

    # The lowest error correction: a screen has no dirt, and larger squares are read more easily.
    segno.make(text, error="l", micro=False).terminal(sys.stderr, border=2, compact=True)


def _print_list(listed: list[Issued], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"schema": SCHEMA, "invites": [_as_json(issued) for issued in listed]}))
        return
    if not listed:
        print("no invite is outstanding", file=sys.stderr)
    for issued in listed:
        invite = issued.invite
        what = f"{issued.state}, until {granting.date(invite.expires)}, for {_whom(invite)}: {_what(invite)}"
        print(background.clean(f"{invite.id} {invite.name}".rstrip() + f" {what}"))
        for key in issued.users:
            print(f"  used by {key.hex()}")


def _as_json(issued: Issued) -> dict[str, object]:
    invite = issued.invite
    return {
        "id": invite.id,
        "name": invite.name,
        "state": issued.state,
        "issued": issued.issued,
        "expires": invite.expires,
        "once": invite.once,
        "targets": invite.targets,
        "seconds": invite.seconds,
        "rate": invite.rate,
        "quota": invite.quota,
        "users": [key.hex() for key in issued.users],
    }


def _cancel(invites: Invites, audit: Audit, invite_id: str, now: float) -> None:
    issued = invites.cancel(invite_id, now)
    if issued.state != "cancelled":
        _audit(audit, "cancelled", issued.invite)
    print(f"{issued.invite.id} is cancelled")
    for key in issued.users:
        print(f"let in by it before: {key.hex()}; to end that: nconnect revoke {key.hex()}", file=sys.stderr)


def _audit(audit: Audit, kind: str, invite: Invite) -> None:
    audit.record(kind, name=invite.name, invite=invite.id, grant=_grant(invite))


def _whom(invite: Invite) -> str:
    return "one user" if invite.once else "all who have it"


def _what(invite: Invite) -> str:
    """The grant in words."""
    from nconnect.permission.grants import format_duration

    lasting = f"; for {format_duration(invite.seconds)} from the first use" if invite.seconds else ""
    return granting.describe(_grant(invite)) + lasting


def _grant(invite: Invite) -> Grant:
    from nconnect.permission.grants import Grant, parse_targets

    return Grant(parse_targets(invite.targets), None, invite.rate, invite.quota)
