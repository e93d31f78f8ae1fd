"""Rows of a benchmark, as a table and as JSON."""

from __future__ import annotations

import json

import pytest

from scripts.figures import Report, medians, show


def make_report() -> Report:
    report = Report()
    report.add("veth", "TCP up", 16_000.0, "Mbit/s", compare=True)
    report.add("wireguard-go", "TCP up", 800.0, "Mbit/s", compare=True)
    report.add("nconnect", "TCP up", 1999.9999, "Mbit/s", compare=True)
    report.add("nconnect", "peak memory of up", 90.04, "MB")
    report.add("nconnect", "ping, idle", None, "ms", compare=True)
    report.add("50 Mbit/s", "TCP up", 95.0, "% of the link")
    return report


def test_one_json_object_with_an_entry_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    report = make_report()
    capsys.readouterr()
    show(report.rows, as_json=True, more={"must_hold": []})
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1,
        "rows": [
            {"name": "veth: TCP up", "value": 16000.0, "unit": "Mbit/s"},
            {"name": "wireguard-go: TCP up", "value": 800.0, "unit": "Mbit/s"},
            {"name": "nconnect: TCP up", "value": 2000.0, "unit": "Mbit/s", "ratio_to_wireguard_go": 2.5},
            {"name": "nconnect: peak memory of up", "value": 90.04, "unit": "MB"},
            {"name": "nconnect: ping, idle", "value": None, "unit": "ms"},
            {"name": "50 Mbit/s: TCP up", "value": 95.0, "unit": "% of the link"},
        ],
        "must_hold": [],
    }


def test_a_table_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    report = make_report()
    capsys.readouterr()
    show(report.rows, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "veth: TCP up                  16,000.00 Mbit/s",
        "wireguard-go: TCP up             800.00 Mbit/s",
        "nconnect: TCP up               2,000.00 Mbit/s      2.50 × wireguard-go",
        "nconnect: peak memory of up       90.04 MB",
        "nconnect: ping, idle            timeout ms",
        "50 Mbit/s: TCP up                 95.00 % of the link",
    ]


def test_progress_goes_to_stderr_as_rows_come(capsys: pytest.CaptureFixture[str]) -> None:
    make_report()
    captured = capsys.readouterr()
    assert not captured.out
    assert [line.split(":")[0].strip() for line in captured.err.splitlines()] == [
        *("veth", "wireguard-go", "nconnect", "nconnect", "nconnect", "50 Mbit/s")
    ]


def test_several_runs_become_the_medians_of_values_and_of_ratios() -> None:
    reports = []
    for reference, value in ((800.0, 1600.0), (400.0, 1200.0), (100.0, 150.0)):
        report = Report()
        report.add("wireguard-go", "TCP up", reference, "Mbit/s", compare=True)
        report.add("nconnect", "TCP up", value, "Mbit/s", compare=True)
        report.add("nconnect", "ping, idle", value if value > 1000 else None, "ms")
        reports.append(report)
    rows = medians(reports).rows
    assert [(row.value, row.ratio) for row in rows] == [(400.0, None), (1200.0, 2.0), (1400.0, None)]


def test_a_row_that_a_run_lacks_keeps_its_place() -> None:
    reports = []
    for subjects in (("veth", "users"), ("veth", "tunnel", "link", "users"), ("floor", "link")):
        report = Report()
        for number, subject in enumerate(subjects):
            report.add(subject, "TCP up", float(number), "Mbit/s")
        reports.append(report)
    rows = medians(reports).rows
    assert [row.name.partition(":")[0] for row in rows] == ["floor", "veth", "tunnel", "link", "users"]
    assert [row.value for row in rows] == [0.0, 0.0, 1.0, 1.5, 2.0]
