"""Addresses of seeds and relays on disk."""

from __future__ import annotations

import stat
from ipaddress import ip_address
from pathlib import Path

import pytest

from nconnect.nkn.lookup import Lookup
from nconnect.tunnel import addresses
from nconnect.tunnel.addresses import KeptAddresses

KNOWN = {"seed.example": (ip_address("192.0.2.1"), ip_address("2001:db8::1"))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "addresses" / "up.json"


@pytest.fixture
def lookup(monkeypatch: pytest.MonkeyPatch) -> Lookup:
    """That of a process which has just started."""
    lookup = Lookup()
    monkeypatch.setattr(addresses, "LOOKUP", lookup)
    return lookup


def test_they_outlive_the_process(path: Path, lookup: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    lookup.recall(KNOWN)
    KeptAddresses(path).save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    later = Lookup()
    monkeypatch.setattr(addresses, "LOOKUP", later)
    KeptAddresses(path).recall()
    assert later.known() == KNOWN


def test_only_what_is_new_is_written(path: Path, lookup: Lookup) -> None:
    lookup.recall(KNOWN)
    kept = KeptAddresses(path)
    kept.save()
    path.unlink()
    kept.save()
    assert not path.exists()
    lookup.recall({})
    kept.save()
    assert path.read_text() == "{}"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"seed.example": ["192.0.2"]}', '{"a": [1]}', "\xff"])
def test_a_file_that_says_nothing_of_use(path: Path, lookup: Lookup, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    KeptAddresses(path).recall()
    assert lookup.known() == {}


def test_a_disk_that_takes_nothing(path: Path, lookup: Lookup) -> None:
    path.mkdir(parents=True)
    lookup.recall(KNOWN)
    kept = KeptAddresses(path)
    kept.recall()
    kept.save()
    assert lookup.known() == KNOWN
