"""Payloads and envelopes: the vectors, every way to seal, and hostile bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, DecodeError, ProtocolError
from nconnect.nkn import envelope
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.envelope import Payload, PayloadType
from nconnect.nkn.keys import KeyPair

ALICE, BOB, CAROL = (KeyPair.from_seed(bytes([n]) * 32) for n in (1, 2, 3))
SHARED = ALICE.shared_key(BOB.public_key)


def test_boxes(vectors: dict[str, Any]) -> None:
    for vector in vectors["boxes"]:
        nonce, plaintext = bytes.fromhex(vector["nonce"]), bytes.fromhex(vector["plaintext"])
        _, box, _ = envelope.seal_parts(plaintext, SHARED, nonce)
        assert box.hex() == vector["ciphertext"]
        assert envelope.open_box(box, nonce, SHARED) == plaintext


def test_payloads(vectors: dict[str, Any]) -> None:
    vector = vectors["payloads"]
    message_id = bytes.fromhex(vector["message_id"])
    payloads = {
        "binary": envelope.message_payload(bytes.fromhex("deadbeef"), message_id),
        "text": envelope.message_payload("héllo", message_id),
        "text_reply": envelope.reply_payload("ok", message_id),
        "ack": envelope.reply_payload(None, message_id),
        "session": Payload(PayloadType.SESSION, bytes.fromhex("cafe"), message_id),
    }
    for name, payload in payloads.items():
        encoded = envelope.encode_payload(payload)
        assert encoded.hex() == vector[name]
        assert envelope.decode_payload(encoded) == payload
    assert payloads["text"].text == "héllo"
    assert envelope.encode_session_payload(message_id, bytes.fromhex("cafe")).hex() == vector["session"]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, 131072, 2_100_000])
def test_hand_made_prefixes_parse_at_every_length(size: int) -> None:
    payload = Payload(PayloadType.SESSION, bytes(size), b"12345678")
    plaintext = envelope.encode_session_payload(payload.message_id, payload.data)
    assert envelope.decode_payload(plaintext) == payload
    assert envelope.open_envelope(envelope.seal(plaintext, SHARED), SHARED) == (plaintext, True)


def test_one_body_for_several_destinations() -> None:
    body = bytes(10_000)
    sealed = envelope.seal_many(body, [SHARED, ALICE.shared_key(CAROL.public_key)])
    for receiver, data in zip((BOB, CAROL), sealed, strict=True):
        assert envelope.open_envelope(data, receiver.shared_key(ALICE.public_key)) == (body, True)
    with pytest.raises(CryptoError):
        envelope.open_envelope(sealed[0], CAROL.shared_key(ALICE.public_key))
    assert len(envelope.seal_many(body, [SHARED])) == 1


def test_unencrypted_envelopes_are_refused_by_default() -> None:
    plain = envelope.seal_nothing(b"hello")
    with pytest.raises(CryptoError, match="unencrypted"):
        envelope.open_envelope(plain, SHARED)
    assert envelope.open_envelope(plain, SHARED, allow_unencrypted=True) == (b"hello", False)


@given(st.integers(0, 70), st.integers(1, 255))
def test_a_changed_envelope_never_opens(position: int, change: int) -> None:
    sealed = bytearray(envelope.seal(b"some content", SHARED))
    sealed[position % len(sealed)] ^= change
    try:
        content, _ = envelope.open_envelope(bytes(sealed), SHARED)
    except ProtocolError:
        return
    # What is left are changes to protobuf's framing that mean the same.
    assert content == b"some content"


@given(st.binary(max_size=400), st.booleans())
def test_hostile_envelopes_raise_only_protocol_errors(data: bytes, allow: bool) -> None:
    with pytest.raises((DecodeError, CryptoError)):
        plaintext, _ = envelope.open_envelope(data, SHARED, allow_unencrypted=allow)
        raise DecodeError(str(plaintext))


@given(st.binary(max_size=48), st.binary(max_size=60), st.binary(max_size=60))
def test_hostile_keys_and_nonces(payload: bytes, nonce: bytes, boxed_key: bytes) -> None:
    message = pb.Message(payload=payload, encrypted=True, nonce=nonce, encrypted_key=boxed_key)
    with pytest.raises((DecodeError, CryptoError)):
        envelope.open_envelope(message.SerializeToString(), SHARED)


@given(st.binary(max_size=200))
def test_hostile_payloads_raise_only_decode_errors(data: bytes) -> None:
    try:
        payload = envelope.decode_payload(data)
        if payload.type is PayloadType.TEXT:
            assert isinstance(payload.text, str)
    except DecodeError:
        pass


@pytest.mark.parametrize("field", ["message_id", "reply_to_id"])
def test_an_id_is_short(field: str) -> None:
    def with_id(size: int) -> Payload:
        ids: dict[str, Any] = {field: bytes(size)}
        return Payload(PayloadType.BINARY, b"data", **ids)

    for size in (0, 8, envelope.MAX_MESSAGE_ID_SIZE):
        payload = with_id(size)
        assert envelope.decode_payload(envelope.encode_payload(payload)) == payload
    for size in (envelope.MAX_MESSAGE_ID_SIZE + 1, 3_000_000):
        payload = with_id(size)
        with pytest.raises(DecodeError, match="ID has more than 64 bytes"):
            envelope.decode_payload(envelope.encode_payload(payload))


def test_an_unknown_payload_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="known type"):
        envelope.decode_payload(b"\x08\x09")
    with pytest.raises(DecodeError, match="TextData"):
        _ = Payload(PayloadType.TEXT, b"\xff\xff").text
