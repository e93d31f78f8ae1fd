"""The command `nconnect`: its global options, and what its errors look like."""

from __future__ import annotations

import enum
import io
import json
import logging
import sys
import time
from typing import Annotated

import typer

from nconnect import __version__
from nconnect.cli import background, owner
from nconnect.cli.commands import Commands
from nconnect.cli.words import global_options_first
from nconnect.errors import NconnectError
from nconnect.places import places

app = typer.Typer(
    name="nconnect",
    cls=Commands,
    help="Give me a public key and I put you on that machine's LAN.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
logger = logging.getLogger("nconnect")


class LogFormat(enum.StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


class TextFormatter(logging.Formatter):
    """Time (UTC), level, logger, message; what strangers said cannot steer the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return background.clean(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (Unix seconds), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": round(record.created, 3),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
        )


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nconnect {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Log to stderr; twice for details.")
    ] = 0,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines look.")] = LogFormat.TEXT,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Give me a public key and I put you on that machine's LAN."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    # Warnings of libraries about our own inputs are told by our errors already.
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)])
    command = context.invoked_subcommand or ""
    if command not in owner.NEED_ROOT:
        owner.act_as_owner(places(), command)


def run() -> None:
    """Run the command line and exit with its code; an error is one or two lines, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A peer's name may hold what this terminal has no letters for.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(args=global_options_first(sys.argv[1:]), prog_name="nconnect")
    except NconnectError as error:
        sys.exit(background.failed(error, error.exit_code))
    except Exception as error:
        logger.debug("internal error", exc_info=True)
        text = f"internal error: {type(error).__name__}: {error}; run it with -vv to see where"
        sys.exit(background.failed(NconnectError(text), 1))
