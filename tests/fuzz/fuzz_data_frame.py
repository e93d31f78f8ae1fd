"""A sealed batch of the tunnel, before its tag is checked."""

from __future__ import annotations

import hashlib

from nconnect.errors import CryptoError, DecodeError, ReplayError
from nconnect.secure.data import TO_USER, Opener, Sealer

ERRORS = (DecodeError, CryptoError, ReplayError)


def exporter(context: bytes, length: int) -> bytes:
    return hashlib.shake_256(context).digest(length)


def seeds() -> list[bytes]:
    sealer = Sealer(exporter, TO_USER, rekey_batches=2)
    return [sealer.seal(b"a batch", 0.0) for _ in range(5)]


def run(data: bytes) -> None:
    opener = Opener(exporter, TO_USER)
    batch = opener.open(data)
    assert len(batch) < len(data)
    try:
        opener.open(data)
    except ReplayError:
        return
    raise AssertionError("it opened twice")
