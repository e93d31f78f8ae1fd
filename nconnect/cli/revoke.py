"""`nconnect revoke`: let a user in no longer."""

from __future__ import annotations

from argparse import ArgumentParser

from nconnect.errors import AddressError, NconnectError, UsageError
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect revoke`."""
    parser.add_argument("user", metavar="KEY|NAME", help="As `nconnect users` shows it.")


def command(user: str) -> None:
    """Cut a user off at once, open connections included, and let them in no more.

    Neither `serve --allow` nor an invite lets that key in again, only `nconnect allow`.
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
    if warnings:
        # The policy file was changed, or broken, and the gateway goes by what it read before.
        raise NconnectError("\n".join([*warnings, "have it read again: nconnect policy check, then SIGHUP"]))
