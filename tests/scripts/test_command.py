"""The commands of scripts/bench beside the tunnel's: their options, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

from nconnect.errors import NconnectError
from scripts import bench_failover, command
from scripts.figures import Row

ROWS = (Row("provider killed and started", 0.08, "s"), Row("user asleep", None, "s"))


def test_one_json_object_as_of_the_main_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.run("failover", lambda: ROWS[:1], as_json=True)
    assert not end.value.code
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 1
    assert answer["rows"] == [{"name": "provider killed and started", "value": 0.08, "unit": "s"}]
    assert answer["environment"].keys() >= {"cores", "kernel", "load_average"}


def test_a_figure_that_could_not_be_had_is_shown_and_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.run("failover", lambda: ROWS, as_json=False)
    assert end.value.code == 1
    assert capsys.readouterr().out.splitlines()[1].split() == ["user", "asleep", "timeout", "s"]


def test_an_error_is_one_line() -> None:
    def fail() -> Sequence[Row]:
        raise NconnectError("network namespaces need root: run it with sudo")

    with pytest.raises(SystemExit, match="scripts/bench failover: network namespaces need root"):
        command.run("failover", fail, as_json=False)


def test_what_was_not_done_in_time_is_said() -> None:
    def wait() -> Sequence[Row]:
        raise TimeoutError

    with pytest.raises(SystemExit, match="scripts/bench grants: not done in time"):
        command.run("grants", wait, as_json=False)


def test_sigterm_ends_as_ctrl_c_does() -> None:
    """What was begun is taken back."""
    program = """
import asyncio, os, signal
from scripts import command

async def measure():
    try:
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.sleep(60)
    finally:
        print("namespaces are gone")

command.run("failover", lambda: asyncio.run(measure()), as_json=False)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (command.INTERRUPTED, "namespaces are gone\n"), done.stderr


def test_scenes_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_failover.parse([]).names == list(bench_failover.SCENES)
    assert bench_failover.parse(["sleep", "--json"]).names == ["sleep"]
    with pytest.raises(SystemExit):
        bench_failover.parse(["earthquake"])
    assert "there is no earthquake; there are node-reset" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["failover", "grants", "knocks", "session"])
def test_help_names_the_command(name: str) -> None:
    run = [sys.executable, "-m", f"scripts.bench_{name}", "--help"]
    done = subprocess.run(run, capture_output=True, text=True, timeout=50, check=True)
    assert f"usage: scripts/bench {name} " in done.stdout
    assert "--json" in done.stdout
