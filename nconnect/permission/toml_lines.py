"""On which line of a TOML document something is: tomllib tells only where the syntax is wrong.

The first lines of a document are a document themselves, if no value is cut through. So the line that is
looked for is the first one with which the value appears. To parse little, that is done in one section at a
time.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
"""Keys of tables and indices of arrays, from the top."""


def line_of(text: str, path: Path) -> int:
    """The line, from 1, of what is at `path` in the valid document `text`; of as much of it as there is."""
    while path:
        for first, section, offset in _sections(text, path):
            shifted = (path[0], path[1] - offset, *path[2:]) if offset and isinstance(path[1], int) else path
            if _has(tomllib.loads(section), shifted):
                return first + _line_in(section, shifted)
        path = path[:-1]
    return 1


def _sections(text: str, path: Path) -> Iterator[tuple[int, str, int]]:
    """First line, text, and how many elements of the array at `path[0]` come before, of each section."""
    lines = _lines(text)
    starts = [number for number, line in enumerate(lines) if number == 0 or line.lstrip().startswith("[")]
    first, elements = 0, 0
    for end in [*starts[1:], len(lines)]:
        section = "".join(lines[first:end])
        try:
            document = tomllib.loads(section)
        except tomllib.TOMLDecodeError:
            continue  # an array's lines begin with brackets too
        yield first + 1, section, elements
        here = document.get(str(path[0]))
        elements += len(here) if isinstance(here, list) else 0
        first = end


def _lines(text: str) -> list[str]:
    """As TOML counts them: str.splitlines knows more ends of lines."""
    return re.findall("[^\n]*\n|[^\n]+", text)


def _line_in(section: str, path: Path) -> int:
    """Lines before the one at which the value at `path` begins."""
    lines = _lines(section)
    low, high = 0, len(lines)  # with `low` lines it is not there, with `high` it is
    while True:
        middle = next((n for n in range((low + high) // 2, high) if n > low and _parses(lines[:n])), None)
        middle = middle or next((n for n in range(high - 1, low, -1) if _parses(lines[:n])), None)
        if middle is None:
            break
        if _has(tomllib.loads("".join(lines[:middle])), path):
            high = middle
        else:
            low = middle
    return low + _line_of_element(lines[low:high], section, path)


def _line_of_element(statement: list[str], section: str, path: Path) -> int:
    """In which line of a statement of several lines a text of its array is."""
    value = _at(tomllib.loads(section), path)
    if len(statement) > 1 and isinstance(value, str):
        return next((number for number, line in enumerate(statement) if value in line), 0)
    return 0


def _parses(lines: list[str]) -> bool:
    try:
        tomllib.loads("".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _has(document: Any, path: Path) -> bool:
    try:
        _at(document, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _at(document: Any, path: Path) -> Any:
    for step in path:
        if isinstance(document, str):
            raise TypeError
        document = document[step]
    return document
