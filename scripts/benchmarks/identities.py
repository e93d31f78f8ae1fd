"""Identities of the parties of a lab, known before they start."""

from __future__ import annotations

from pathlib import Path

from nconnect.nkn.keys import KeyPair
from nconnect.tunnel.identity import FILE_NAME


def write_identity(home: Path, key: KeyPair) -> None:
    """Make a party's secret seed the given one. `home`: the party's directory in the lab."""
    path = home / "state" / FILE_NAME
    path.touch(mode=0o600)
    path.write_text(key.seed.hex() + "\n")
