"""What must hold, and whether it does in a run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks import echo, shaped, suite, tunnel, users
from scripts.figures import Report, Row


@dataclass(frozen=True)
class Goal:
    """A bound that a row must keep."""

    text: str
    row: str
    bound: float
    at_least: bool = True
    """False: at most."""
    is_ratio: bool = False
    """The bound is one of the ratio to wireguard-go, not of the value."""

    def judge(self, row: Row | None) -> Verdict:
        value = None if row is None else row.ratio if self.is_ratio else row.value
        compare: Callable[[float, float], bool] = operator.ge if self.at_least else operator.le
        return Verdict(self, row, value, value is not None and compare(value, self.bound))


@dataclass(frozen=True)
class Verdict:
    """A goal, and what became of it."""

    goal: Goal
    row: Row | None
    value: float | None
    holds: bool

    @property
    def word(self) -> str:
        return "ok" if self.holds else "not measured" if self.row is None else "not ok"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.goal.text,
            "row": self.goal.row,
            "value": self.value,
            "at_least" if self.goal.at_least else "at_most": self.goal.bound,
            "verdict": self.word,
        }


def _tunnel(what: str) -> str:
    return f"{tunnel.NAME}: {what}"


_LINK_PING = f"{shaped.LINK}: {shaped.PING_ABOVE_IDLE.format(shaped.UP)}"
GOALS = (
    Goal("one TCP stream up, against wireguard-go", _tunnel(suite.TCP_UP), 2.0, is_ratio=True),
    Goal("one TCP stream down, against wireguard-go", _tunnel(suite.TCP_DOWN), 2.0, is_ratio=True),
    Goal("small packets delivered, against wireguard-go", _tunnel(suite.UDP_SMALL), 0.7, is_ratio=True),
    Goal("idle ping minus a websocket echo, ms", _tunnel(echo.DIFFERENCE), 0.3, at_least=False),
    Goal(
        "ping during a bulk upload, p95 above idle, ms",
        _LINK_PING,
        20.0,
        at_least=False,
    ),
    Goal("bulk upload, % of the link", f"{shaped.LINK}: {shaped.UP}", 90.0),
    Goal("bulk download, % of the link", f"{shaped.LINK}: {shaped.DOWN}", 90.0),
    Goal("with 1 % message loss, up, % of the link", f"{shaped.LOSSY_LINK}: {shaped.UP}", 75.0),
    Goal("with 1 % message loss, down, % of the link", f"{shaped.LOSSY_LINK}: {shaped.DOWN}", 75.0),
    Goal("one of four nodes 10 × slower, up, % of all", f"{shaped.SLOW_NODE}: {shaped.UP}", 90.0),
    Goal("one of four nodes 10 × slower, down, % of all", f"{shaped.SLOW_NODE}: {shaped.DOWN}", 90.0),
    Goal("100 users together, % of one user", f"{users.subject(100)}: {users.OF_ONE_USER}", 80.0),
    Goal("`up` to first ping, s", _tunnel(tunnel.FIRST_PING), 1.0, at_least=False),
    Goal("peak memory of `up` under load, MB", _tunnel(tunnel.UP_MEMORY), 100.0, at_least=False),
)


def judge(report: Report) -> list[Verdict]:
    """Each goal, in the order of the list."""
    return [goal.judge(report.get(goal.row)) for goal in GOALS]


def lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line each, for people."""
    width = max(len(verdict.goal.text) for verdict in verdicts)
    return [_line(verdict, width) for verdict in verdicts]


def _line(verdict: Verdict, width: int) -> str:
    goal, value = verdict.goal, verdict.value
    figure = "–" if value is None else f"{value:,.2f}"
    bound = f"{'≥' if goal.at_least else '≤'} {goal.bound:g}{' ×' if goal.is_ratio else ''}"
    return f"{goal.text:<{width}}  {figure:>10}  {bound:<8}  {verdict.word}"
