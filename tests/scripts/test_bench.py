"""The options of scripts/bench, and what it prints when something fails."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from nconnect.errors import NconnectError
from scripts import bench, command
from scripts.figures import Report


async def good(report: Report, *, seconds: int) -> None:
    report.add("good", "TCP up", 100.0, "Mbit/s")


async def gone(report: Report, *, seconds: int) -> None:
    report.add("gone", "TCP up", 50.0, "Mbit/s")
    raise NconnectError("serve has ended while it was measured")


async def late(report: Report, *, seconds: int) -> None:
    raise TimeoutError


async def faulty(report: Report, *, seconds: int) -> None:
    int("")


async def interrupted(report: Report, *, seconds: int) -> None:
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(60)


async def last(report: Report, *, seconds: int) -> None:
    report.add("last", "TCP up", 10.0, "Mbit/s")


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of those that need a lab."""
    every = {one.__name__: one for one in (good, gone, late, faulty, interrupted, last)}
    monkeypatch.setattr(bench, "GROUPS", every)
    monkeypatch.setattr(bench, "ALIASES", {})


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The exit code of `scripts/bench`."""
    monkeypatch.setattr("sys.argv", ["bench", *options])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as end:
            bench.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return int(end.value.code or 0)


def names(output: str) -> list[str]:
    return [row["name"] for row in json.loads(output)["rows"]]


@pytest.mark.parametrize(
    ("group", "said", "also"),
    [
        ("gone", "gone ended early: serve has ended", ["gone: TCP up"]),
        ("late", "late ended early: timeout", []),
        ("faulty", "ValueError: invalid literal", []),
    ],
)
def test_a_group_that_fails_takes_no_other_with_it(
    groups: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    group: str,
    said: str,
    also: Sequence[str],
) -> None:
    assert run(monkeypatch, "--json", "--only", "good", group, "last") == 1
    captured = capsys.readouterr()
    assert names(captured.out) == ["good: TCP up", *also, "last: TCP up"]
    assert said in captured.err


def test_what_was_measured_before_an_interrupt_is_printed(
    groups: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(monkeypatch, "--json", "--only", "good", "interrupted", "last")
    assert code == command.INTERRUPTED
    assert names(capsys.readouterr().out) == ["good: TCP up"]


def test_all_went_well(
    groups: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--only", "good", "last", "--repeat", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["good:", "TCP", "up", "100.00", "Mbit/s"],
        ["last:", "TCP", "up", "10.00", "Mbit/s"],
    ]


def test_everything_by_default() -> None:
    options = bench.parse([])
    assert options.only == list(bench.GROUPS)
    assert options.seconds == bench.SECONDS
    assert options.plot is None and options.profile is None


def test_groups_come_in_the_order_of_the_table_and_once() -> None:
    options = bench.parse(["--only", "shaped", "tunnel", "link", "--only", "wireguard-go", "--quick"])
    assert options.only == ["wireguard-go", "tunnel", "link", "loss", "slow-node", "dead-node"]
    assert options.seconds == bench.QUICK_SECONDS


def test_figures_go_to_the_documentation_unless_told_otherwise(tmp_path: Path) -> None:
    assert bench.parse(["--plot"]).plot == Path("docs/figures")
    assert bench.parse(["--profile", str(tmp_path), "--seconds", "3"]).profile == tmp_path


def test_bad_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.parse(["--only", "everything"])
    assert "'everything' (choose from 'veth'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.parse(["--repeat", "0"])
    assert "from 1" in capsys.readouterr().err
