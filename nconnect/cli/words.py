"""What belongs to the whole program, wherever it is typed: `nconnect up -v` is `nconnect -v up`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

_VERBOSE = re.compile("-v+|--verbose")
_LOG_FORMAT = "--log-format"


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options of the whole program, and the rest: a command's name and what is for the command.

    No option of any command has a value that looks like one of the program's.
    """
    own, others = list[str](), list[str]()
    rest = iter(words)
    for word in rest:
        if word == _LOG_FORMAT:
            own += [word, *itertools.islice(rest, 1)]
        elif _VERBOSE.fullmatch(word) or word.startswith(_LOG_FORMAT + "="):
            own.append(word)
        else:
            others.append(word)
    command = next((place for place, word in enumerate(others) if not word.startswith("-")), len(others))
    return own + others[:command], others[command:]
