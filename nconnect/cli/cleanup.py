"""`nconnect cleanup`: undo what a crash left behind."""

from __future__ import annotations

import typer

from nconnect.places import places


def command() -> None:
    """Undo what instances that crashed left on this machine; those that run are not touched."""
    from nconnect.host.privileges import require_net_admin
    from nconnect.host.state import cleanup

    require_net_admin("nconnect cleanup")
    lines = cleanup(places().journals)
    for line in lines:
        typer.echo(line)
    if not lines:
        typer.echo("nothing was left behind")
