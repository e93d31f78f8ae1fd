"""How words become options: argparse, with errors that are ours, and say what may have been meant."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from nconnect.cli.invited import LOOKS_LIKE_INVITE
from nconnect.errors import UsageError

# What we say is English. To look for what argparse says in other languages, and Python has none, takes 3 ms.
argparse._ = str  # type: ignore[attr-defined]

_HELP_COLUMN = 30
"""Where what an option does begins at the latest."""


class Parser(argparse.ArgumentParser):
    """What may follow the name of a command.

    No option may be shortened: a script would break when there is another of the same beginning. One that
    takes a value takes the next word, whatever it begins with.
    """

    def __init__(self, prog: str, description: str = "", epilog: str = "", **more: Any) -> None:
        super().__init__(prog, description=description, epilog=epilog, **more, add_help=False)
        self.allow_abbrev = False
        self.color = False  # Python 3.14 would
        # Only help needs the width of the terminal, which takes time to find out.
        self.formatter_class = functools.partial(argparse.HelpFormatter, width=80)
        self.add_argument("-h", "--help", action="help", help="Show this message and exit.")

    def parse(self, words: Sequence[str]) -> dict[str, Any]:
        """The values of all options and arguments.

        Raises:
            UsageError: the words are wrong.
        """
        found, others = self.parse_known_args(self._joined(words))
        stray = [word for word in others if word != "--"]
        if stray:
            self.error(self._explained(stray))
        return vars(found)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError that tells where to read on as well."""
        raise UsageError(f"{message}\nsee: {self.prog} --help")

    def format_help(self) -> str:
        """The help, as wide as the terminal."""
        self.formatter_class = functools.partial(argparse.HelpFormatter, max_help_position=_HELP_COLUMN)
        return super().format_help()

    def _joined(self, words: Sequence[str]) -> list[str]:
        """The words, each option that takes a value joined to it: argparse refuses `--to -x`.

        Only long options take one. An unknown one is told before what is missing: it may be that, misspelt.
        """
        takes_value = {
            name: action.nargs is None for action in self._actions for name in action.option_strings
        }
        result = list[str]()
        rest = iter(words)
        for word in rest:
            if word == "--":
                return [*result, word, *rest]
            if word.startswith("-") and word != "-":
                name, equals, _ = word.partition("=")
                for one in [name] if name.startswith("--") else [f"-{letter}" for letter in word[1:]]:
                    if one not in takes_value:
                        self.error(f"no such option: {one}{alike(one, takes_value)}")
                if equals and not takes_value[name]:
                    self.error(f"{name} takes no value")
                if takes_value.get(word):
                    word = "=".join([word, *itertools.islice(rest, 1)])
            result.append(word)
        return result

    def _explained(self, stray: Sequence[str]) -> str:
        """What is wrong with words that are no option and no argument, and which option was meant."""
        if any(map(LOOKS_LIKE_INVITE.match, stray)):
            # Not repeated: it is a secret, and this may be a log.
            return "got an invite without its option; did you mean --invite - and to paste it then?"
        known = {name for action in self._actions for name in action.option_strings}
        meant = [name for name in (("--lan",) if "/" in stray[0] else ("--peer", "--allow")) if name in known]
        hint = f"; did you mean {meant[0]} {stray[0]}?" if meant else ""
        return f"unexpected argument: {' '.join(stray)}{hint}"


def alike(word: str, known: Iterable[str]) -> str:
    """What to say after a word that is unknown, if one that is known is like it."""
    from difflib import get_close_matches

    return "".join(f"; did you mean {close}?" for close in get_close_matches(word, known, 1))
