"""Options of the whole program are found wherever they stand."""

from __future__ import annotations

import pytest

from nconnect.cli.words import split


@pytest.mark.parametrize(
    ("typed", "own", "rest"),
    [
        ("", "", ""),
        ("-v", "-v", ""),
        ("status", "", "status"),
        ("up -v", "-v", "up"),
        ("up --peer x -vv -d", "-vv", "up --peer x -d"),
        ("-v up --verbose", "-v --verbose", "up"),
        ("up --log-format json -d", "--log-format json", "up -d"),
        ("--log-format json up -d", "--log-format json", "up -d"),
        ("up --log-format=json", "--log-format=json", "up"),
        ("up --log-format", "--log-format", "up"),
        ("-h up -h", "-h", "up -h"),
        ("--versoin up --version", "--versoin", "up --version"),
        ("-- status -- x", "--", "status -- x"),
    ],
)
def test_global_options(typed: str, own: str, rest: str) -> None:
    assert split(typed.split()) == (own.split(), rest.split())
