"""The JSON text with which a client joins a node."""

from __future__ import annotations

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn.handshake import SetClient, decode_client_text, encode_set_client, verify_challenge

from .vectors import ALICE

ERRORS = (DecodeError, CryptoError)
CHALLENGE = b"\xab" * 32


def seeds() -> list[bytes]:
    address = f"alice.{ALICE.public_key.hex()}"
    return [
        encode_set_client(address, ALICE, CHALLENGE, salt=b"\xcd" * 32).encode(),
        encode_set_client(address, ALICE, None).encode(),
        b'{"Action":"heartbeat"}',
    ]


def run(data: bytes) -> None:
    request = decode_client_text(data)
    if isinstance(request, SetClient):
        verify_challenge(ALICE.public_key, CHALLENGE, request)
