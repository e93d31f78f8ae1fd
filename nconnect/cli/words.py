"""What people type that is almost right: global options after the command, words without their option."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

from nconnect.cli.background import clean
from nconnect.cli.invited import LOOKS_LIKE_INVITE

_VERBOSE = re.compile("-v+|--verbose")
_LOG_FORMAT = "--log-format"


def global_options_first(words: Sequence[str]) -> list[str]:
    """The command line with the options of the whole program where they belong, before the command.

    No option of any command has a value that looks like one of them.
    """
    first, others = [], []
    rest = iter(words)
    for word in rest:
        if _VERBOSE.fullmatch(word) or word.startswith(_LOG_FORMAT + "="):
            first.append(word)
        elif word == _LOG_FORMAT:
            first += [word, *itertools.islice(rest, 1)]
        else:
            others.append(word)
    return [*first, *others]


class HintingCommand(TyperCommand):
    """A command that says of a stray word which option was meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True  # they are refused here instead
        stray = super().parse_args(ctx, args)
        if any(map(LOOKS_LIKE_INVITE.match, stray)):
            # Not repeated: it is a secret, and this may be a log.
            ctx.fail("Got an invite without its option; did you mean --invite - and to paste it then?")
        if stray:
            words = clean(" ".join(stray))
            ctx.fail(f"Got unexpected extra argument(s) ({words}){self._hint(clean(stray[0]))}")
        return stray

    def _hint(self, word: str) -> str:
        known = {name for parameter in self.params for name in parameter.opts}
        for option in ("--lan",) if "/" in word else ("--peer", "--allow"):
            if option in known:
                return f"; did you mean {option} {word}?"
        return ""
