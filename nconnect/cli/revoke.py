"""`nconnect revoke`: let a user in no longer."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from nconnect.errors import AddressError, NconnectError, UsageError
from nconnect.places import places

if TYPE_CHECKING:
    from nconnect.permission.store import Store


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect revoke`."""
    parser.add_argument("user", metavar="KEY|NAME", help="As `nconnect users` shows it.")


def command(user: str) -> None:
    """Cut a user off at once, open connections included, and let them in no more.

    Neither `serve --allow` nor an invite lets that key in again, only `nconnect allow`. An invite that is
    still open lets its holder in with another key, and is named.
    """
    from nconnect.cli import granting
    from nconnect.permission.keys import check_name, parse_key
    from nconnect.permission.store import FILE_NAME, Store

    where = places()
    key_or_name: bytes | str = user
    try:
        key_or_name = parse_key(user)
    except AddressError as error:
        try:
            check_name(user)
        except UsageError:
            raise error from None  # it was meant as a key
    named = granting.named_in_file(granting.policy(where), key_or_name)
    if named:
        raise UsageError(f"{named} names this user, and the file decides; take it out there, then reload it")
    with Store(where.state / FILE_NAME) as store:
        revoked = store.revoke(key_or_name)
        invites = _open_invites(store, revoked.key) if revoked is not None else []
    if isinstance(key_or_name, str) and revoked is None:
        raise UsageError(f"nobody named {user!r} is allowed; see who is with: nconnect users")
    warnings = granting.tell_gateway(where)
    audit = granting.audit(where)
    if revoked is not None:
        audit.record("revoked", revoked.key, name=revoked.name, grant=revoked.grant, source=revoked.by)
        print(f"revoked {revoked.name or 'key'} {revoked.key.hex()}")
    elif isinstance(key_or_name, bytes):
        audit.record("revoked", key_or_name)
        print(f"revoked key {key_or_name.hex()}, which no `nconnect allow` had let in")
    for invite in invites:
        print(
            f"the invite {invite} that let them in is still open, to any other key too; "
            f"cancel it: nconnect invite --cancel {invite}",
            file=sys.stderr,
        )
    if warnings:
        # The policy file was changed, or broken, and the gateway goes by what it read before.
        raise NconnectError("\n".join([*warnings, "have it read again: nconnect policy check, then SIGHUP"]))


def _open_invites(store: Store, key: bytes) -> list[str]:
    """The IDs of the invites by which whoever holds this key may come again, with another one."""
    if not store.invites_of(key):
        return []  # and nobody waits for what reads invites to be loaded
    from nconnect.permission.issued import open_invites

    return open_invites(store, key, store.now())
