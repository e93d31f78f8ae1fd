"""What users of one gateway get, and what each of them costs."""

from __future__ import annotations

import pytest

from scripts.benchmarks import users
from scripts.figures import Report

pytestmark = pytest.mark.netns


async def test_rows_of_all_together_and_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "SIZES", (1, 2))
    report = Report()
    await users.run(report, seconds=1)
    rows = {row.name: row.value or 0.0 for row in report.rows}
    for size in (1, 2):
        name = users.subject(size)
        assert rows[f"{name}: {users.AGGREGATE}"] > 0
        for what in (users.CPU_SERVE, users.CPU_UP):
            # Each is a process of one thread, mostly.
            assert 0 < rows[f"{name}: {what}"] < 200
        # Less than a process that has the program for itself.
        assert 1 < rows[f"{name}: {users.MEMORY_UP}"] < rows[f"{name}: memory of serve"]
    assert 0 < rows[f"2 users: {users.SLOWEST}"] <= 100
    grown = rows["2 users: memory of serve"] - rows["1 user: memory of serve"]
    assert rows[f"2 users: {users.MEMORY_SERVE}"] == pytest.approx(grown, abs=0.01)
