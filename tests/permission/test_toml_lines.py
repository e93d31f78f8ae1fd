"""Where in a TOML document something is."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from nconnect.permission.toml_lines import Path, line_of

TEXT = '''title = "x"

[users]
# a comment
ann = "1"
bob = "[users]"
"c d" = """
several
lines"""
eve = "2"

[groups]
staff = [
  "ann",

  "bob",
]
"all" = ["ann"]

[[grants]]
users = ["ann"]
to = ["a", "b"]
[[grants]]
users = ["bob"]
inline = {x = 1}
[a.b]
c.d = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("title",), 1),
        (("users",), 3),
        (("users", "ann"), 5),
        (("users", "bob"), 6),
        (("users", "c d"), 7),
        (("users", "eve"), 10),
        (("groups", "staff"), 13),
        (("groups", "staff", 0), 14),
        (("groups", "staff", 1), 16),
        (("groups", "all", 0), 18),
        (("grants", 0), 20),
        (("grants", 0, "to", 1), 22),
        (("grants", 1), 23),
        (("grants", 1, "users", 0), 24),
        (("grants", 1, "inline", "x"), 25),
        (("a", "b", "c", "d"), 27),
        (("grants", 1, "missing"), 23),
        (("users", "zoe"), 3),
        (("nowhere", "at", "all"), 1),
    ],
)
def test_lines(path: Path, line: int) -> None:
    assert line_of(TEXT, path) == line


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


def test_everything_has_a_line() -> None:
    count = TEXT.count("\n")
    for path in paths(tomllib.loads(TEXT)):
        assert 1 <= line_of(TEXT, path) <= count


def test_lines_end_as_toml_says() -> None:
    text = '[users]\r\nann = "\u2028"\r\nbob = "2"'
    assert line_of(text, ("users", "bob")) == 3
