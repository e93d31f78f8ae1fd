"""`nconnect demo` from end to end, as a person starts it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from nconnect.demo import demo
from nconnect.demo.demo import DemoOptions, run_demo
from nconnect.demo.lab import LAN_HOST, lab_identifiers, remove_labs
from nconnect.demo.namespaces import NAMESPACES
from nconnect.demo.process import Process
from nconnect.demo.services import Service
from nconnect.errors import NconnectError, UsageError

pytestmark = pytest.mark.netns

# A demo takes 6 s; with a language model 15 s, most of it at work on tokens.
DEMO_SECONDS = 240.0


def assert_removed(shown: str) -> None:
    """The lab that a demo made is gone."""
    match = re.search(r"nc-([0-9a-f]{4})-\{", shown)
    assert match, shown
    assert match[1] not in lab_identifiers()
    assert not list(NAMESPACES.glob(f"nc-{match[1]}-*"))


def start(tmp_path: Path, *options: str) -> Process:
    return Process.start(
        "demo",
        [sys.executable, "-m", "nconnect", "demo", *options],
        env=dict(os.environ),
        directory=tmp_path,
        log=tmp_path / "demo.log",
    )


async def test_the_answer_comes_from_the_lan(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert await process.wait(DEMO_SECONDS) == 0, process.output()
    shown = process.output()
    assert f"answered by {LAN_HOST}:11434, which was asked by 192.168.77.1" in shown
    assert "no answer, as it should be" in shown
    assert "The cat purrs on the window sill." in shown
    for figure in ("time to connect", "ping through the tunnel", "bytes", "path", "X25519MLKEM768"):
        assert figure in shown
    assert "as before" in shown
    assert "\x1b" not in shown, "no colours where nobody sees them"
    assert_removed(shown)


async def test_a_language_model_streams_through_the_tunnel(tmp_path: Path) -> None:
    process = start(tmp_path, "--llm")
    assert await process.wait(DEMO_SECONDS) == 0, process.output()
    shown = process.output()
    assert shown.count("A private tunnel between two networks is useful because ") == 2
    assert "first token without the tunnel" in shown
    assert "first token through the tunnel" in shown
    assert_removed(shown)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_it_cleans_up_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    await process.wait_for("nconnect serve ", DEMO_SECONDS)
    assert await process.stop(number) not in (0, -signal.SIGKILL)
    assert "Traceback" not in process.output()
    assert_removed(process.output())


async def test_kept_it_goes_on_running_until_it_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(tmp_path, "--keep")
    assert await process.wait(DEMO_SECONDS) == 0, process.output()
    commands = [line.strip() for line in process.output().splitlines() if line.startswith("  ")]
    tried = [command for command in commands if command.startswith(("ip netns", "NCONNECT_", "ls "))]
    assert len(tried) == 5
    for command in tried:
        shell = await asyncio.create_subprocess_shell(
            command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await shell.communicate()
        assert shell.returncode == 0, f"{command}: {output.decode()}"
    assert "demo --remove" in commands[-1]
    assert await run_demo(DemoOptions(remove=True)) == 0
    assert "removed 1 lab" in capsys.readouterr().out
    assert_removed(process.output())


async def test_a_step_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Service("no server", "nconnect.demo.missing", "nconnect.demo.client", 1, (), "demo")
    monkeypatch.setattr(demo, "EMBEDDINGS", broken)
    with pytest.raises(NconnectError, match=r"server ended with exit code 1(.|\n)*nconnect\.demo\.missing"):
        await run_demo(DemoOptions())
    shown = capsys.readouterr().out
    assert "✗" in shown
    assert_removed(shown)


async def test_a_missing_package_is_named_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Service("none", "none", "none", 1, ("no_such_module",), "demo-llm")
    monkeypatch.setattr(demo, "LANGUAGE_MODEL", missing)
    with pytest.raises(UsageError, match=r"no_such_module: pip install 'nconnect\[demo-llm\]'"):
        await run_demo(DemoOptions(llm=True))


async def test_nothing_to_remove(capsys: pytest.CaptureFixture[str]) -> None:
    remove_labs(kept=True)
    assert await run_demo(DemoOptions(remove=True)) == 0
    assert "removed 0 labs" in capsys.readouterr().out
