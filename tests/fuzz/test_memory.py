"""No input takes memory out of all proportion: zlib bombs, length fields, millions of empty things."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from . import memory
from .runner import ROOT


@pytest.fixture(scope="module")
def grown() -> dict[str, int]:
    """Bytes by which a process of its own grew for each input."""
    command = [sys.executable, "-m", memory.__name__]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    figures: dict[str, int] = json.loads(process.stdout)
    return figures


@pytest.mark.parametrize("name", memory.CASES)
def test_memory_is_bounded(name: str, grown: dict[str, int]) -> None:
    print(f"{name} took {grown[name] / memory.MIB:.1f} MiB")
    assert grown[name] <= memory.CASES[name].limit


def test_it_measures() -> None:
    """A decoder that keeps ten times what it gets is found out."""
    greedy = memory.Case(lambda data: b"x" * (10 * len(data)), lambda: bytes(memory.MIB), 0)
    assert 9 * memory.MIB < memory.growth(greedy) < 20 * memory.MIB
