"""Inputs of the official SDKs, and keys, for targets to begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nconnect.nkn.keys import KeyPair

TESTS = Path(__file__).parent.parent

ALICE = KeyPair.from_seed(b"\x01" * 32)
BOB = KeyPair.from_seed(b"\x02" * 32)
SHARED = ALICE.shared_key(BOB.public_key)


def vectors(path: str) -> Any:
    """The contents of a JSON file under tests/."""
    return json.loads((TESTS / path).read_text())
