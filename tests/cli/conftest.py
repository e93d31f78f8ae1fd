"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

from .command import Command


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`nconnect` with all its files in a directory of the test's."""
    return Command(tmp_path)
