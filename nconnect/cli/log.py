"""`nconnect log`: who was let in, refused, revoked and invited, when, and how much went."""

from __future__ import annotations

import contextlib
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import TYPE_CHECKING

from nconnect.cli import background, granting
from nconnect.cli.options import add_json
from nconnect.places import places

if TYPE_CHECKING:
    from nconnect.permission.audit_reader import Entry

FOLLOW_INTERVAL = 0.25
"""Seconds between looks at the files: sooner than a person notices, and next to no work."""
EVENT_WIDTH = 9
"""Columns; the longest event has 9 letters."""


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect log`."""
    parser.add_argument(
        "--user", metavar="NAME|KEY", default="", help="Only what is about this user; default: everybody."
    )
    parser.add_argument(
        "--since", metavar="TIME", default="", help="Only the last, e.g., 1h or 7d; default: all there is."
    )
    parser.add_argument("-f", "--follow", action="store_true", help="Go on with what happens from now on.")
    add_json(parser)


def command(user: str, since: str, follow: bool, as_json: bool) -> None:
    """Show who was admitted, refused, revoked or invited, with what grant, when, and how many bytes went."""
    import msgspec

    from nconnect.permission.audit import DIRECTORY
    from nconnect.permission.audit_reader import Reader
    from nconnect.permission.grants import parse_duration

    first = time.time() - parse_duration(since) if since else 0.0
    wanted = _filter(user)
    with Reader(places().state / DIRECTORY) as reader, contextlib.suppress(KeyboardInterrupt):
        while True:
            for entry in reader.entries():
                if entry.time >= first and wanted(entry):
                    line = msgspec.json.encode(entry).decode() if as_json else _line(entry)
                    print(background.clean(line))
            if not follow:
                return
            time.sleep(FOLLOW_INTERVAL)


def _filter(user: str) -> Callable[[Entry], bool]:
    """Which entries are about a user.

    A name is one that the provider gave: whoever was refused may call themselves as they like, and what an
    admitted user calls itself is in parentheses, with which no name begins.

    Raises:
        UsageError: `user` is neither a key nor a name that a user may have.
    """
    from nconnect.errors import AddressError
    from nconnect.permission.audit import Event
    from nconnect.permission.keys import check_name, parse_key

    if not user:
        return lambda entry: True
    try:
        key = parse_key(user).hex()
    except AddressError:
        name = check_name(user)
        return lambda entry: entry.name == name and entry.event != Event.REFUSED
    return lambda entry: entry.key == key


def _line(entry: Entry) -> str:
    from nconnect.permission.audit import Event

    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.time))
    name = f"({entry.name})" if entry.event == Event.REFUSED and entry.name else entry.name
    words = [when, f"{entry.event:<{EVENT_WIDTH}}", name, entry.key, *entry.addresses]
    details = []
    if entry.invite:
        details.append(f"invite {entry.invite}")
    if entry.grant is not None:
        grant = entry.grant
        details.append(
            granting.in_words(grant.targets, grant.expires, grant.rate, grant.quota, served=grant.served)
        )
    if entry.source:
        details.append(f"by {entry.source}")
    if entry.reason:
        details.append(entry.reason)
    if entry.bytes_in is not None and entry.bytes_out is not None:
        details.append(f"{entry.bytes_in:,} bytes in, {entry.bytes_out:,} out")
    if entry.seconds is not None:
        details.append(f"{entry.seconds:.0f} s")
    if entry.omitted:
        details.append(f"{entry.omitted} lines before this were left out")
    line = " ".join(filter(None, words)) + (": " if details else "") + "; ".join(details)
    return line.replace("\n", "?")
