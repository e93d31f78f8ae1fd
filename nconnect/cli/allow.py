"""`nconnect allow`: let a key in, to what it is granted."""

from __future__ import annotations

from argparse import ArgumentParser

from nconnect.cli.options import add_rate, add_to, split_commas
from nconnect.errors import UsageError
from nconnect.places import places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect allow`."""
    parser.add_argument("key", metavar="KEY", help="What the user's `nconnect id` prints.")
    parser.add_argument("--name", default="", help="What to call the user, here and in `nconnect revoke`.")
    add_to(parser)
    parser.add_argument("--expires", metavar="TIME", help="For how long, e.g. 1h or 7d.")
    add_rate(parser)
    parser.add_argument("--quota", metavar="BYTES", help="Bytes from now on, both ways together, e.g. 100GB.")


def command(
    key: str, name: str, to: list[str] | None, expires: str | None, rate: str | None, quota: str | None
) -> None:
    """Let a key in, at once and until revoked; of a key that is let in, change what it may.

    The gateway need not run now. A key that the policy file names is changed there.
    """
    from nconnect.cli import granting
    from nconnect.permission import grants
    from nconnect.permission.keys import parse_key
    from nconnect.permission.store import FILE_NAME, Store

    public_key = parse_key(key)
    where = places()
    policy = granting.policy(where)
    grant = grants.Grant(
        granting.targets(policy, split_commas(to or ())),
        None,
        grants.parse_rate(rate) if rate is not None else 0,
        grants.parse_size(quota) if quota is not None else 0,
    )
    seconds = grants.parse_duration(expires) if expires is not None else None
    named = granting.named_in_file(policy, public_key)
    if named:
        raise UsageError(f"{named} names this key, and the file decides; change it there, then reload it")
    granting.check_name(policy, name)
    with Store(where.state / FILE_NAME) as store:
        if seconds is not None:
            grant = grant._replace(expires=store.end_of(seconds))
        user = store.allow(public_key, name, grant)
    granting.audit(where).record("allowed", public_key, name=user.name, grant=grant, source=user.by)
    granting.tell_gateway(where)
    print(f"allowed {user.name or 'key'} {public_key.hex()}: {granting.describe(grant)}")
