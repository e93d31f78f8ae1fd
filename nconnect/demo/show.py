"""How the demo tells its story: one line a step, with where it happens and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

PLACE_WIDTH = 8
SHORT_KEY = 12
MARGIN = f"{' ' * (PLACE_WIDTH + 13)}[dim]│[/] "
MARKS = {True: "[green]✓[/]", False: "[red]✗[/]"}


class Step:
    """What a step found out; `result` is shown beside it when it is done."""

    def __init__(self) -> None:
        self.result = ""
        self.seconds = 0.0


class Story:
    """Prints to a console; on a terminal a step is shown while it runs, elsewhere once it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._at_margin = True

    @contextmanager
    def step(self, place: str, what: str) -> Iterator[Step]:
        """Time a step that happens at `place`; an exception marks it as failed."""
        step = Step()
        started = time.monotonic()
        head = f"[cyan]{place:<{PLACE_WIDTH}}[/]  {escape(what)}"
        done = False
        try:
            if self._console.is_terminal:
                with self._console.status(head, spinner="dots"):
                    yield step
            else:
                yield step
            done = True
        finally:
            step.seconds = time.monotonic() - started
            result = f" [dim]·[/] [bold]{escape(step.result)}[/]" if step.result else ""
            self._console.print(
                f"{MARKS[done]} [dim]{step.seconds:6.2f} s[/]  {head}{result}",
                soft_wrap=True,
                highlight=False,
            )

    def announce(self, place: str, what: str) -> None:
        """Begin a step whose output is shown as it comes."""
        self._console.print(
            f"[dim]…{'':10}[/][cyan]{place:<{PLACE_WIDTH}}[/]  {escape(what)}",
            soft_wrap=True,
            highlight=False,
        )

    def say(self, text: str = "") -> None:
        """Print a line as it is."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def quote(self, text: str) -> None:
        """Print what a program of the demo printed, or the next part of it."""
        for line in text.splitlines(keepends=True):
            if self._at_margin:
                self._console.print(MARGIN, end="")
            self._console.print(line, end="", markup=False, soft_wrap=True)
            self._at_margin = line.endswith("\n")

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        """The figures at the end."""
        table = Table(show_header=False)
        for name, value in rows:
            table.add_row(name, escape(value))
        self._console.print(table, highlight=False)


def short(key: str) -> str:
    """The beginning of a public key, for a line that a person reads."""
    return key if len(key) <= SHORT_KEY else f"{key[:SHORT_KEY]}…"
