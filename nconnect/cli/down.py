"""`nconnect down`: end an instance and put the network back."""

from __future__ import annotations

from argparse import ArgumentParser

from nconnect.cli import background
from nconnect.cli.cleanup import closed_lines, is_closed
from nconnect.errors import HostError, NotRunningError, UsageError
from nconnect.places import Places, places


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect down`."""
    parser.add_argument(
        "name", metavar="NAME", nargs="?", default="", help="Which one; not needed where only one runs."
    )


def command(name: str) -> None:
    """End an instance of `up` or `serve`; returns when the network is as it was.

    One that has ended by itself, and whose kill switch is still closed, is opened.
    """
    from nconnect.tunnel import asking

    where = places()
    if not name:
        names = asking.running(where)
        if not names:
            raise NotRunningError("\n".join(["nothing is running", *closed_lines(where)]))
        if len(names) > 1:
            raise UsageError(f"several are running; name one of: {', '.join(names)}")
        name = names[0]
    try:
        left = asking.down(where, name)
    except NotRunningError as error:
        if not is_closed(where, name):
            raise NotRunningError("\n".join([str(error), *closed_lines(where)])) from error
        _open(where, name)
        return
    if left:
        for line in left:
            print(background.clean(line))
        raise HostError(f"{name} is down, but left what is said above; run: nconnect cleanup")
    print(f"{name} is down")


def _open(where: Places, name: str) -> None:
    """Undo what an instance that has ended keeps closed."""
    from nconnect.host.privileges import require_net_admin
    from nconnect.host.recovery import clean_up

    require_net_admin("nconnect down")
    journal = where.journal(name)
    lines = clean_up(journal)
    for line in lines:
        print(line)
    if journal.exists() and not lines:
        raise HostError(f"{name} had ended, but somebody starts it again; nothing was undone")
    if journal.exists():
        raise HostError(f"{name} had ended, but left what is said above; run: nconnect cleanup")
    print(f"{name} had ended; its kill switch is open")
