"""What people type that is almost right is understood, or explained."""

from __future__ import annotations

import pytest

from nconnect.cli.words import global_options_first


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", ""),
        ("status", "status"),
        ("up -v", "-v up"),
        ("up --peer x -vv -d", "-vv up --peer x -d"),
        ("-v up --verbose", "-v --verbose up"),
        ("up --log-format json -d", "--log-format json up -d"),
        ("up --log-format=json", "--log-format=json up"),
        ("up --version", "up --version"),
    ],
)
def test_global_options_go_first(typed: str, meant: str) -> None:
    assert global_options_first(typed.split()) == meant.split()
