"""The options of scripts/bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import bench


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
