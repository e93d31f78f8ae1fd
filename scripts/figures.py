"""What the benchmarks say: one figure a row, as a table or as JSON."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# What the others are compared with.
REFERENCE = "wireguard-go"


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float | None
    """None: it did not end in time."""
    unit: str
    ratio: float | None = None
    """To the same figure of `REFERENCE` in the same run, where there is one."""

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {"name": self.name, "value": self.value, "unit": self.unit}
        return row if self.ratio is None else row | {"ratio_to_wireguard_go": self.ratio}


class Report:
    """The rows of a run as they come, each told at once on stderr."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, subject: str, what: str, value: float | None, unit: str, *, compare: bool = False) -> None:
        """A figure of a subject; with `compare` its ratio to that of `REFERENCE`, if that has been added."""
        reference = self.get(f"{REFERENCE}: {what}") if compare and subject != REFERENCE else None
        ratio = None
        if value is not None and reference and reference.value:
            ratio = round(value / reference.value, 3)
        row = Row(f"{subject}: {what}", None if value is None else round(value, 3), unit, ratio)
        self.rows.append(row)
        progress("  " + _line(row, 0))

    def get(self, name: str) -> Row | None:
        """The row called ``subject: what``."""
        return next((row for row in self.rows if row.name == name), None)


def medians(reports: Sequence[Report]) -> Report:
    """One report of several runs of the same: each value, and each ratio, is the median of theirs.

    A ratio is that of one run, so what else the machine did then has slowed down both sides of it. A row that
    some of them lack is the median of the others.
    """
    merged = Report()
    for name in _names(reports):
        rows = [found for report in reports if (found := report.get(name))]
        values = [one.value for one in rows if one.value is not None]
        ratios = [one.ratio for one in rows if one.ratio is not None]
        value = statistics.median(values) if values else None
        ratio = statistics.median(ratios) if ratios else None
        merged.rows.append(Row(name, value, rows[0].unit, ratio))
    return merged


def _names(reports: Sequence[Report]) -> list[str]:
    """Of all rows, each once: one that a report lacks has the place that it has in another."""
    names: list[str] = []
    for report in reports:
        place = 0
        for row in report.rows:
            if row.name not in names:
                names.insert(place, row.name)
            place = names.index(row.name) + 1
    return names


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(rows: Sequence[Row], *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Print them on stdout; `more` goes into the JSON object beside them."""
    if as_json:
        print(json.dumps({"schema": 1, "rows": [row.to_json() for row in rows], **(more or {})}))
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        print(_line(row, width))


def _line(row: Row, width: int) -> str:
    value = f"{'timeout':>10}" if row.value is None else f"{row.value:>10,.2f}"
    ratio = "" if row.ratio is None else f"{row.ratio:>{16 - len(row.unit)}.2f} × {REFERENCE}"
    return f"{row.name:<{width}}  {value} {row.unit}{ratio}"
