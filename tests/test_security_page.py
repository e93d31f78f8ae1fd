"""docs/security.md: each adversary's row names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

_TEST = re.compile(r"`(tests/[^`:]+)(?:::(\w+))?`")


def names(path: Path) -> set[str]:
    """Of all tests in a file, and of the classes that hold some."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)}


def test_each_row_of_adversaries_names_a_test() -> None:
    table = PAGE.split("## Who could want what")[1].split("##")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 8
    for row in rows:
        assert _TEST.search(row.rsplit(" | ", 1)[1]), row


def test_each_test_that_the_page_names_is_there() -> None:
    found = _TEST.findall(PAGE)
    assert found
    for path, name in found:
        assert (ROOT / path).exists(), path
        assert not name or name in names(ROOT / path), f"{path}::{name}"
