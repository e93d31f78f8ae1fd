"""What a test that fails says of its lab: also if it never began, because a fixture failed.

::

    pytest (this one) ──► pytest (of tests that fail) ──► a lab: user ── internet ── provider ── lan
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]
FAILING = """
import pytest
import pytest_asyncio

from nconnect.demo.lab import Party
from tests.e2e.conftest import *
from tests.e2e.timeline import LABS, RecordedLab


@pytest.fixture
async def broken(lab):
    await lab.run(Party.USER, ["echo", "in a fixture"])
    raise RuntimeError


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared():
    async with RecordedLab.create() as lab:
        await lab.run(Party.LAN, ["echo", "in a shared one"])
        raise RuntimeError


async def test_one(broken):
    pass


async def test_two(shared):
    pass


async def test_three(lab):
    await lab.run(Party.PROVIDER, ["echo", "in a test"])
    raise RuntimeError


def test_none_is_left():
    assert LABS == []
"""


def test_a_failure_shows_what_happened(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    (tmp_path / "conftest.py").write_text("from tests.e2e.conftest import pytest_runtest_makereport\n")
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert "1 failed, 1 passed, 2 errors" in done.stdout, done.stdout
    events = sorted(line.split("(0) ")[1] for line in done.stdout.splitlines() if "(0) " in line)
    assert events == ["in a fixture", "in a shared one", "in a test"], "each once"
