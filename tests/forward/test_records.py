"""Records: what is written is read, and anything else is a DecodeError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import DecodeError
from nconnect.forward import records
from nconnect.forward.records import Kind

RECORDS = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**32 - 1), st.binary(max_size=100)), max_size=20
)


def test_on_the_wire() -> None:
    assert records.encode(Kind.RESET, 1) == bytes.fromhex("05000000 06 01000000")
    assert records.data_head(2, 3, 4) == bytes.fromhex("11000000 03 02000000 0300000000000000")
    assert records.encode_offset(Kind.WINDOW, 1, 256) == bytes.fromhex(
        "0d000000 04 01000000 0001000000000000"
    )


@given(RECORDS)
def test_a_batch_comes_back(written: list[tuple[Kind, int, bytes]]) -> None:
    batch = b"".join(records.encode(*record) for record in written)
    assert [
        (kind, number, bytes(body)) for kind, number, body in records.iter_records(memoryview(batch))
    ] == [tuple(record) for record in written]


@given(st.binary(max_size=200))
def test_any_bytes_are_records_or_a_decode_error(data: bytes) -> None:
    try:
        found = list(records.iter_records(memoryview(data)))
    except DecodeError:
        return
    assert sum(records.HEADER_SIZE + len(record.body) for record in found) == len(data)


@given(st.integers(0, records.MAX_OFFSET - 1), st.binary(max_size=20))
def test_data_comes_back(offset: int, content: bytes) -> None:
    batch = records.data_head(1, offset, len(content)) + content
    (record,) = records.iter_records(memoryview(batch))
    decoded, data = records.decode_data(record.body)
    assert (decoded, bytes(data)) == (offset, content)


@pytest.mark.parametrize("body", [b"", bytes(7), b"\xff" * 8])
def test_what_is_no_offset(body: bytes) -> None:
    with pytest.raises(DecodeError):
        records.decode_offset(memoryview(body))
