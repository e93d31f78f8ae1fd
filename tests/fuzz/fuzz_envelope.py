"""The end-to-end envelope of a message."""

from __future__ import annotations

import contextlib

from nacl import bindings

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.envelope import BOX_OVERHEAD, KEY_SIZE, NONCE_SIZE, open_envelope, seal, seal_nothing

from .vectors import SHARED

ERRORS = (DecodeError, CryptoError)
NONCE = bytes(range(NONCE_SIZE))


def seeds() -> list[bytes]:
    body_key = bytes(range(KEY_SIZE))
    several = pb.Message(
        payload=bindings.crypto_box_easy_afternm(b"to several", NONCE, body_key),
        encrypted=True,
        nonce=NONCE + NONCE,
        encrypted_key=bindings.crypto_box_easy_afternm(body_key, NONCE, SHARED),
    )
    return [seal(b"to one", SHARED, NONCE), several.SerializeToString(), seal_nothing(b"to all who look")]


def run(data: bytes) -> None:
    # Whoever has our key can put anything into the box of the second key.
    boxed = bindings.crypto_box_easy_afternm(data, NONCE, SHARED)
    hostile = pb.Message(payload=data, encrypted=True, nonce=NONCE + NONCE, encrypted_key=boxed)
    with contextlib.suppress(*ERRORS):
        open_envelope(hostile.SerializeToString(), SHARED)
    content, encrypted = open_envelope(data, SHARED, allow_unencrypted=True)
    assert len(content) <= len(data) - (BOX_OVERHEAD if encrypted else 0)
