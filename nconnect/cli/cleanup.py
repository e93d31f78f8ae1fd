"""`nconnect cleanup`: undo what a crash left behind."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser

from nconnect.errors import NconnectError
from nconnect.places import JOURNAL_SUFFIX, Places, places


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


def is_closed(where: Places, name: str) -> bool:
    """Whether the kill switch of this instance, which has ended, keeps something unreachable."""
    with contextlib.suppress(NconnectError, OSError):
        if (journal := where.journal(name)).exists():
            from nconnect.host.recovery import closed_by

            return bool(closed_by(journal))
    return False


def closed_lines(where: Places) -> list[str]:
    """What kill switches of ended instances keep unreachable; empty if nothing, or unreadable.

    Those that run are not looked at: what reads a journal takes a quarter of a second to load.
    """
    from nconnect.tunnel.asking import running

    alive, lines = running(where), list[str]()
    for path in sorted(where.journals.glob(f"*{JOURNAL_SUFFIX}")):
        name = path.name.removesuffix(JOURNAL_SUFFIX)
        if name in alive:
            continue
        from nconnect.host.recovery import closed_by

        with contextlib.suppress(NconnectError, OSError):
            if prefixes := closed_by(path):
                undo = f"nconnect up --name {name}, or nconnect down {name}"
                lines.append(
                    f"the kill switch of {name} keeps {', '.join(prefixes)} unreachable until: {undo}"
                )
    return lines
