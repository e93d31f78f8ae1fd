"""`nconnect policy`: the file that says who may reach what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from nconnect.errors import UsageError
from nconnect.places import places

app = typer.Typer(help="The file that says who may reach what.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The file that says who may reach what."""


@app.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Which file; the one that `serve` reads if not given.")
    ] = None,
) -> None:
    """Say what is wrong in a policy file, with the line, or else what it grants."""
    from nconnect.cli.granting import describe
    from nconnect.permission import policy_file

    path = file or places().policy
    if not path.exists():
        raise UsageError(f"there is no {path}")
    policy = policy_file.load(path)
    for user in policy.users.values():
        decision = user.decide(time.time())
        what = (
            describe(decision.grant)
            if decision.grant
            else "nothing: " + ("all its grants have expired" if user.grants else "no grant names it")
        )
        typer.echo(f"{user.name} {user.key.hex()}: {what}")
    typer.echo(f"{path} is right", err=True)
