from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.devnet.frames import parse_single
from nconnect.errors import DecodeError
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.messages import Outbound, decode_frame


def frame(compression: Any = 0, kind: Any = 0, **fields: Any) -> bytes:
    message = pb.OutboundMessage(**fields).SerializeToString()
    if compression:
        message = zlib.compress(message)
    return pb.ClientMessage(
        message_type=kind,
        message=message,
        compression_type=compression,
    ).SerializeToString()


USUAL: dict[str, Any] = {
    "dests": ["__0__.bob"],
    "nonce": 2**32 - 1,
    "block_hash": bytes(32),
    "signatures": [b"s" * 64],
    "payloads": [b"envelope"],
}


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 131_072])
def test_the_usual_message(size: int) -> None:
    payload = bytes(size)
    single = parse_single(memoryview(frame(**{**USUAL, "payloads": [payload]})))
    assert single is not None
    assert single[0] == "__0__.bob"
    assert single[1] == payload


def test_the_payload_is_not_copied() -> None:
    buffer = bytearray(frame(**USUAL))
    single = parse_single(memoryview(buffer))
    assert single is not None
    buffer[buffer.index(b"envelope")] = ord("E")
    assert bytes(single[1]) == b"Envelope"


@pytest.mark.parametrize(
    "fields",
    [
        {"dests": []},
        {"dests": ["a", "b"]},
        {"dests": ["a", "b"], "payloads": [b"1", b"2"], "signatures": [b"1", b"2"]},
        {"payloads": []},
        {"signatures": []},
        {"max_holding_seconds": 1},
        {"dest": "old"},
        {"payload": b"old"},
        {"compression": 1},
        {"kind": 1},
        {"kind": 2},
    ],
)
def test_everything_else_is_left_to_protobuf(fields: dict[str, Any]) -> None:
    assert parse_single(memoryview(frame(**{**USUAL, **fields}))) is None


def check_agreement(data: bytes) -> None:
    single = parse_single(memoryview(data))
    if single is None:
        return
    message = decode_frame(data)
    assert isinstance(message, Outbound)
    assert (message.dests, message.payloads) == ((single[0],), (bytes(single[1]),))
    assert message.max_holding_seconds == 0


@given(st.binary(max_size=80))
def test_what_it_reads_protobuf_reads_the_same_in_random_bytes(data: bytes) -> None:
    check_agreement(data)


@given(st.integers(0, len(frame(**USUAL)) - 1), st.integers(0, 255), st.booleans())
def test_what_it_reads_protobuf_reads_the_same_in_damaged_messages(at: int, byte: int, cut: bool) -> None:
    data = bytearray(frame(**USUAL))
    data[at] = byte
    try:
        check_agreement(bytes(data[: at + 1] if cut else data))
    except DecodeError as error:
        pytest.fail(f"protobuf refuses what the relay would pass on: {error}")
