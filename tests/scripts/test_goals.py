"""What must hold, judged by the rows of a run."""

from __future__ import annotations

from scripts.benchmarks import echo, goals, suite, tunnel
from scripts.figures import Report


def verdicts(report: Report) -> dict[str, str]:
    return {verdict.goal.text: verdict.word for verdict in goals.judge(report)}


def test_nothing_was_measured() -> None:
    assert set(verdicts(Report()).values()) == {"not measured"}


def test_bounds_of_ratios_and_of_values() -> None:
    report = Report()
    for what, reference, value in ((suite.TCP_UP, 100, 200), (suite.TCP_DOWN, 100, 199)):
        report.add("wireguard-go", what, reference, "Mbit/s", compare=True)
        report.add(tunnel.NAME, what, value, "Mbit/s", compare=True)
    report.add(tunnel.NAME, tunnel.FIRST_PING, 0.9, "s")
    report.add(tunnel.NAME, tunnel.UP_MEMORY, 100.1, "MB")
    report.add(tunnel.NAME, echo.DIFFERENCE, None, "ms")
    found = verdicts(report)
    assert found["one TCP stream up, against wireguard-go"] == "ok"
    assert found["one TCP stream down, against wireguard-go"] == "not ok"
    assert found["`up` to first ping, s"] == "ok"
    assert found["peak memory of `up` under load, MB"] == "not ok"
    assert found["idle ping minus a websocket echo, ms"] == "not ok"


def test_a_ratio_needs_the_reference() -> None:
    report = Report()
    report.add(tunnel.NAME, suite.TCP_UP, 5000, "Mbit/s", compare=True)
    assert verdicts(report)["one TCP stream up, against wireguard-go"] == "not ok"


def test_lines_for_people() -> None:
    report = Report()
    report.add(tunnel.NAME, tunnel.FIRST_PING, 0.75, "s")
    lines = goals.lines(goals.judge(report))
    assert len(lines) == len(goals.GOALS)
    assert [line.split() for line in lines if "first ping" in line] == [
        ["`up`", "to", "first", "ping,", "s", "0.75", "≤", "1", "ok"]
    ]
