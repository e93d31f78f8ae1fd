"""`nconnect policy`: the file that says who may reach what."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser
from pathlib import Path

from nconnect.errors import UsageError
from nconnect.places import places

CHECK = "Say what is wrong in a policy file, with the line, or else what it grants."


def arguments(parser: ArgumentParser) -> None:
    """What may follow `nconnect policy`: `check`, the one command of the group as yet."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    check = commands.add_parser("check", help=CHECK, description=CHECK)
    check.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="Which file; the one that `serve` reads if not given.",
    )


def command(file: Path | None) -> None:
    """The file that says who may reach what."""
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
        print(f"{user.name} {user.key.hex()}: {what}")
    print(f"{path} is right", file=sys.stderr)
