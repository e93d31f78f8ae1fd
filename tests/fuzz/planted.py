"""A target with mistakes in it, to see that each kind is found."""

from __future__ import annotations

import time

from nconnect.errors import DecodeError

from .limits import MEMORY_MIB

ERRORS = (DecodeError,)
KEPT: list[bytes] = []


def seeds() -> list[bytes]:
    return [b"raise", b"hang!", b"eat!!"]


def run(data: bytes) -> None:
    if data == b"":
        raise DecodeError("an input of no bytes: documented, and so no finding")
    if data == b"raise":
        raise IndexError("not documented")
    if data == b"hang!":
        time.sleep(60)
    if data == b"eat!!":
        KEPT.append(b"x" * (MEMORY_MIB << 20))
