"""`nconnect allow`: let a key in, to what it is granted."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from nconnect.cli.options import Rate, To, split_commas
from nconnect.errors import UsageError
from nconnect.places import places


def command(
    key: Annotated[str, typer.Argument(metavar="KEY", help="What the user's `nconnect id` prints.")],
    name: Annotated[str, typer.Option(help="What to call the user, here and in `nconnect revoke`.")] = "",
    to: To = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="For how long, e.g. 1h or 7d.")] = "",
    rate: Rate = "",
    quota: Annotated[str, typer.Option(help="Bytes from now on, both ways together, e.g. 100GB.")] = "",
) -> None:
    """Let a key in, at once and until revoked; of a key that is let in, change what it may.

    The gateway need not run now. A key that the policy file names is changed there.
    """
    from nconnect.cli import granting
    from nconnect.permission import grants
    from nconnect.permission.keys import check_name, parse_key
    from nconnect.permission.store import FILE_NAME, Store

    public_key = parse_key(key)
    where = places()
    policy = granting.policy(where)
    grant = grants.Grant(
        granting.targets(policy, split_commas(to or ())),
        time.time() + grants.parse_duration(expires) if expires else None,
        grants.parse_rate(rate) if rate else 0,
        grants.parse_size(quota) if quota else 0,
    )
    if name:
        check_name(name)
    named = granting.named_in_file(policy, public_key)
    if named:
        raise UsageError(f"{named} names this key, and the file decides; change it there, then reload it")
    with Store(where.state / FILE_NAME) as store:
        user = store.allow(public_key, name, grant)
    granting.audit(where).record("allowed", public_key, name=user.name, grant=grant, source=user.by)
    granting.tell_gateway(where)
    typer.echo(f"allowed {user.name or 'key'} {public_key.hex()}: {granting.describe(grant)}")
