"""Identities that are known before their parties start."""

from __future__ import annotations

from pathlib import Path

from nconnect.nkn.keys import KeyPair
from nconnect.tunnel.identity import load_or_create
from scripts.benchmarks.identities import write_identity


def test_the_identity_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    key = KeyPair.from_seed(bytes(32))
    write_identity(tmp_path, key)
    assert load_or_create(tmp_path / "state").public_key == key.public_key
