"""What one client says to another, inside the envelope."""

from __future__ import annotations

from nconnect.errors import DecodeError
from nconnect.nkn.envelope import Payload, PayloadType, decode_payload, encode_payload

from .vectors import vectors

ERRORS = (DecodeError,)


def seeds() -> list[bytes]:
    payloads = vectors("nkn/vectors.json")["payloads"]
    return [bytes.fromhex(payloads[name]) for name in ("binary", "text", "text_reply", "ack", "session")]


def run(data: bytes) -> None:
    payload = decode_payload(data)
    assert isinstance(payload, Payload)
    assert decode_payload(encode_payload(payload)) == payload
    if payload.type is PayloadType.TEXT:
        payload.text.encode()
