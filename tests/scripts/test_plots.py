"""What is drawn of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest

from scripts.benchmarks import plots, shaped, suite
from scripts.figures import Report


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """Stands for matplotlib, which the tests do without."""
    package, pyplot = ModuleType("matplotlib"), MagicMock()
    figure, axes = MagicMock(), MagicMock()
    pyplot.subplots.return_value = figure, axes
    package.use = MagicMock()  # type: ignore[attr-defined]
    package.pyplot = pyplot  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matplotlib", package)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return axes


def test_only_what_was_measured_is_drawn(axes: MagicMock, tmp_path: Path) -> None:
    report = Report()
    report.add("wireguard-go", suite.PING_IDLE, 0.5, "ms")
    report.add("nconnect", suite.PING_IDLE, 1.5, "ms")
    report.add(shaped.LINK, shaped.UP, 95.0, "% of the link")
    drawn = plots.draw(report, tmp_path / "figures")
    assert [path.name for path in drawn] == ["latency.png", "shaped.png"]
    bars = {call.kwargs["label"]: call.args[1] for call in axes.bar.call_args_list}
    assert bars["wireguard-go"] == [0.5, 0.0]
    assert bars["nconnect"] == [1.5, 0.0]
    assert bars[shaped.LINK] == [95.0, 0.0]


def test_what_did_not_end_in_time_has_no_figure(axes: MagicMock, tmp_path: Path) -> None:
    report = Report()
    report.add("nconnect", suite.PING_IDLE, 1.5, "ms")
    report.add("nconnect", suite.PING_BUSY, None, "ms")
    plots.draw(report, tmp_path)
    labels = [call.args[1] for call in axes.bar_label.call_args_list]
    assert labels == [["–", "–"], ["–", "–"], ["1.5", "–"]]
