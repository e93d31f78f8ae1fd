"""`nconnect cleanup`: undo what a crash left behind."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser

from nconnect.errors import NconnectError
from nconnect.places import Places, places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect cleanup`."""
    parser.add_argument(
        "--keep-kill-switch", action="store_true", help="What a kill switch made unreachable stays so."
    )


def command(keep_kill_switch: bool) -> None:
    """Undo what instances that crashed left on this machine; those that run are not touched."""
    from nconnect.host.privileges import require_net_admin
    from nconnect.host.recovery import cleanup

    require_net_admin("nconnect cleanup")
    lines = cleanup(places().journals, keep_closed=keep_kill_switch)
    for line in lines:
        print(line)
    if not lines:
        print("nothing was left behind")


def closed_lines(where: Places, but: str = "") -> list[str]:
    """What kill switches of ended instances, `but` one, keep unreachable; empty if nothing, or unreadable."""
    from nconnect.host.recovery import closed

    lines = list[str]()
    with contextlib.suppress(NconnectError, OSError):
        for name, prefixes in closed(where.journals, but).items():
            undo = f"nconnect up --name {name}, or nconnect cleanup"
            lines.append(f"the kill switch of {name} keeps {', '.join(prefixes)} unreachable until: {undo}")
    return lines
