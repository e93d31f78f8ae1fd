"""Length prefixes at every threshold."""

from __future__ import annotations

import pytest
from google.protobuf.internal import encoder
from hypothesis import given
from hypothesis import strategies as st

from nconnect.nkn import wire


@given(st.integers(0, 2**64 - 1))
def test_varint_is_protobufs(value: int) -> None:
    assert wire.varint(value) == encoder._VarintBytes(value)  # type: ignore[attr-defined]


def test_field() -> None:
    assert wire.field(2, 5) == b"\x12\x05"
    assert wire.field(16, 300) == b"\x82\x01\xac\x02"


@pytest.mark.parametrize(
    ("length", "prefix"),
    [
        (0, "00"),
        (0xFC, "fc"),
        (0xFD, "fdfd00"),
        (0xFFFF, "fdffff"),
        (0x10000, "fe00000100"),
    ],
)
def test_varbytes_prefixes(length: int, prefix: str) -> None:
    assert wire.varbytes(bytes(length)) == bytes.fromhex(prefix) + bytes(length)
