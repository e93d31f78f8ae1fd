"""The subcommands, each loaded when it is named: nobody waits for the others' modules and options."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from nconnect.cli.parser import Parser

MODULES = {
    "id": "identity",
    "serve": "serve",
    "up": "up",
    "socks": "socks",
    "tunnel": "tunnel",
    "allow": "allow",
    "revoke": "revoke",
    "users": "users",
    "policy": "policy",
    "invite": "invite",
    "log": "log",
    "down": "down",
    "status": "status",
    "devnet": "devnet",
    "demo": "demo",
    "cleanup": "cleanup",
}
"""In the order of the help.

Each has a function `arguments`, which tells a parser what may follow its name, and `command`, which gets that
by its names and returns the exit code, or None for 0. What `command` says of itself is the help.
"""
QUIET = ("id", "allow", "revoke")
"""They log nothing unless asked to with `-v`, and do not wait for what logs to be loaded."""


def load(name: str) -> tuple[Parser, Callable[..., int | None]]:
    """The parser of the command of that name, and what to call with what it finds."""
    module = importlib.import_module(f"nconnect.cli.{MODULES[name]}")
    summary, _, more = (module.command.__doc__ or "").partition("\n\n")
    parser = Parser(f"nconnect {name}", summary, more)
    module.arguments(parser)
    return parser, module.command
