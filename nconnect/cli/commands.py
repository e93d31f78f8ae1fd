"""The subcommands, each loaded when it is named: nobody waits for the others' modules and options."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from nconnect.cli.words import HintingCommand

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
"""In the order of the help; each has a `command`, or is an `app` of several."""
HINTING = ("serve", "up", "socks")


class Commands(TyperGroup):
    """The group of all commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; of an unknown name all are loaded, for one that is like it."""
        for name in (cmd_name,) if cmd_name in MODULES else MODULES:
            if name not in self.commands:
                self.commands[name] = _load(name)
        return super().get_command(ctx, cmd_name)


def _load(name: str) -> Any:
    module = importlib.import_module(f"nconnect.cli.{MODULES[name]}")
    plain = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
    if hasattr(module, "app"):
        plain.add_typer(module.app, name=name)
        return typer.main.get_group(plain).commands[name]
    plain.command(name, cls=HintingCommand if name in HINTING else None)(module.command)
    return typer.main.get_command(plain)
