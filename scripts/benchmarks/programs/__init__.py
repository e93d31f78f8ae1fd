"""Programs that run in the namespaces of a lab, each a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

# What the lab's environment needs beside its own, for it runs commands elsewhere.
ENVIRONMENT: Mapping[str, str] = {"PYTHONPATH": str(Path(__file__).parent.parent.parent.parent)}


def command(name: str, *arguments: object) -> list[str]:
    """The command line of a program of this folder."""
    return [sys.executable, "-m", f"{__name__}.{name}", *map(str, arguments)]
