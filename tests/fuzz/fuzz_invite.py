"""An invite: the string that a user is given, the token that a provider is shown, and what was signed."""

from __future__ import annotations

import contextlib

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE
from nconnect.nkn.keys import KeyPair
from nconnect.permission.invites import (
    CONTEXT,
    VERSION,
    Invite,
    decode,
    encode_head,
    from_text,
    sign,
    to_text,
)

ERRORS = (DecodeError, CryptoError)
KEY = KeyPair.from_seed(bytes(range(32)))
HEAD = bytes([VERSION]) + KEY.public_key


def seeds() -> list[bytes]:
    """Bodies, which `run` puts a good signature on; a token; a text."""
    few = Invite(KEY.public_key, bytes(8), 1_800_000_000, once=True)
    many = Invite(
        KEY.public_key,
        bytes(range(8)),
        1_800_000_000,
        once=False,
        name="laptop",
        targets=("192.168.1.20:11434/tcp", "fd00::/64"),
        seconds=86400,
        rate=50_000_000,
        quota=10**11,
    )
    token = sign(many, KEY)
    return [encode_head(invite)[1 + PUBLIC_KEY_SIZE :] for invite in (few, many)] + [
        token,
        to_text(token).encode(),
    ]


def run(data: bytes) -> None:
    with contextlib.suppress(UsageError):
        text = data.decode("utf-8", "replace")
        assert to_text(from_text(text)) == text
    with contextlib.suppress(*ERRORS):
        assert sign(decode(data), KEY) == data  # no other key is known to the fuzzer
    head = HEAD + data
    token = head + KEY.sign(CONTEXT + head)
    invite = decode(token)
    assert encode_head(invite) == head
    assert from_text(to_text(token)) == token
