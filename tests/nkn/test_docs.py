"""docs/nkn.md: each example runs and prints what the page says, each test that proves a row is there."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from nconnect.devnet import Devnet

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "nkn.md"
# Where the page has its devnet; here it is on a free port.
SEED = "http://127.0.0.1:30003"

_EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"`(tests/[^`:]+)(?:::(\w+))?`")


class Example(NamedTuple):
    """A program of the page, and what it prints."""

    title: str
    line: int
    source: str
    output: str


def examples(page: str) -> list[Example]:
    """All of a page's programs; each is named after the heading above it and its line."""
    found = []
    for match in _EXAMPLE.finditer(page):
        above = page[: match.start(1)]
        title = re.findall(r"^## (.*)$", above, re.MULTILINE)[-1]
        found.append(Example(title, above.count("\n"), match[1], match[2]))
    return found


def run(example: Example, seed: str) -> str:
    """Run a program as it stands, but on another devnet; what it prints."""
    printed: list[str] = []

    def note(*values: object) -> None:
        printed.append(" ".join(str(value) for value in values) + "\n")

    # Line numbers of a traceback are those of the page.
    source = "\n" * example.line + example.source.replace(SEED, seed)
    exec(compile(source, str(PAGE), "exec"), {"__name__": "__main__", "print": note})
    return "".join(printed)


TEXT = PAGE.read_text(encoding="utf-8")


def test_every_program_of_the_page_says_what_it_prints() -> None:
    assert len(examples(TEXT)) == TEXT.count("```python\n") > 0


@pytest.mark.parametrize("example", examples(TEXT), ids=lambda example: f"{example.title}, {example.line}")
async def test_an_example(example: Example, devnet: Devnet) -> None:
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(run, example, devnet.rpc_url) == example.output


def test_every_row_names_tests_that_are_there() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "tests/" in line]
    assert len(rows) > 20
    for row in rows:
        named = _TEST.findall(row)
        assert named, row
        for path, function in named:
            assert not function or function in functions(ROOT / path), row
            assert (ROOT / path).exists(), row


def functions(path: Path) -> set[str]:
    """The tests of a file."""
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
