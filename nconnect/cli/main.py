"""The command `nconnect`: its global options, and what its errors look like."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from nconnect import __version__
from nconnect.cli import background, commands, invited, owner
from nconnect.cli.parser import Parser, alike
from nconnect.cli.words import split
from nconnect.errors import NconnectError, UsageError
from nconnect.places import places

DESCRIPTION = "Give me a public key and I put you on that machine's LAN."


class _Program(Parser):
    """The options of the whole program; its help lists the commands, which it loads for that."""

    def __init__(self) -> None:
        super().__init__("nconnect", DESCRIPTION)
        self.usage = "%(prog)s [OPTIONS] COMMAND ..."
        self.add_argument(
            "-v", "--verbose", action="count", default=0, help="Log to stderr; twice for details."
        )
        self.add_argument(
            "--log-format",
            metavar="FORMAT",
            choices=("text", "json"),
            default="text",
            help="How log lines look: text or json. [default: %(default)s]",
        )
        self.add_argument(
            "--version", action="version", version=f"%(prog)s {__version__}", help="Print the version."
        )

    def format_help(self) -> str:
        group = self.add_argument_group("commands")
        for name in commands.MODULES:
            parser, _ = commands.load(name)
            group.add_argument(name, help=parser.description)
        return super().format_help()


def main(words: Sequence[str]) -> int:
    """Do what a command line says; the exit code.

    Raises:
        NconnectError: it cannot be done.
    """
    program = _Program()
    own, rest = split(words)
    log_options = program.parse(own)
    if not rest:
        program.print_help(sys.stderr)
        return UsageError.exit_code
    name, *arguments = rest
    if name not in commands.MODULES:
        program.error(f"no such command: {name}{alike(name, commands.MODULES)}")
    parser, command = commands.load(name)
    options = parser.parse(arguments)
    if log_options["verbose"] or name not in commands.QUIET:
        from nconnect.cli import logs

        logs.set_up(**log_options)
    if name not in owner.NEED_ROOT:
        owner.act_as_owner(places(), name)
    return command(**options) or 0


def run() -> None:
    """Run the command line and exit with its code; an error is one or two lines, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A peer's name may hold what this terminal has no letters for. Each line is written at once: whoever
        # reads a pipe may wait for it, and if it cannot be written, that is told below.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        invited.hide()
        sys.exit(main(sys.argv[1:]))
    except NconnectError as error:
        sys.exit(background.failed(error, error.exit_code))
    except BrokenPipeError:
        # Who read what we print has gone, as `head` does. What is left of it shall not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        import logging

        logging.getLogger("nconnect").debug("internal error", exc_info=True)
        text = f"internal error: {type(error).__name__}: {error}; run it with -vv to see where"
        sys.exit(background.failed(NconnectError(text), 1))
