"""Invites: one string that holds a provider's address and a capability that the provider has signed.

A token is::

    u8 version, 32 bytes of the provider's public key, body, 64 bytes of Ed25519 signature

where the body is a MessagePack array (`_Body`) and the signature covers `CONTEXT` and all before it. What a
person passes on is the text `nconnect1` followed by Base58 of the token and four bytes of its SHA-256: no
character in it looks like another, a double click selects it whole, and no chat takes it for markup.

Nothing here knows whether an invite was used or cancelled: that is in the provider's records.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Annotated

import base58
import msgspec

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE
from nconnect.nkn.keys import SIGNATURE_SIZE, KeyPair, verify
from nconnect.permission.keys import MAX_NAME

VERSION = 1
CONTEXT = b"nconnect invite\0"
"""Before what is signed: the same key signs messages of NKN, and none of them begins so."""
KNOCK_CONTEXT = b"nconnect knock\0"
KNOCK_PROOF_SIZE = 8
"""Bytes of a code that can be tried at the provider's only: 2⁶⁴ dials."""
TEXT_PREFIX = "nconnect"
NONCE_SIZE = 8
"""The signature is what cannot be guessed; the nonce only tells invites apart."""
CHECK_SIZE = 4
MAX_TARGETS = 16
"""More than a person lists for somebody else, and with the longest ones still one QR code."""
MAX_TARGET_TEXT = 64
"""`[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535-65535/tcp` has 53."""
MAX_TOKEN = 2048
"""Bytes; the largest that we make, with `MAX_TARGETS` of the longest targets, has 1,270."""
MAX_TEXT = 3072
"""Base58 of the largest token, and the prefix."""
MAX_SECONDS = 1 << 40
"""For times, as Unix seconds: 30,000 years."""
MAX_AMOUNT = (1 << 63) - 1

_TEXT = re.compile(rf"{TEXT_PREFIX}([1-9])(\S*)", re.ASCII)

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)]
_Amount = Annotated[int, msgspec.Meta(ge=0, le=MAX_AMOUNT)]


@dataclass(frozen=True)
class Invite:
    """What a provider promises to whoever brings the string first."""

    provider: bytes
    """Public key, which is the NKN address to dial."""
    nonce: bytes
    expires: int
    """Unix seconds until which the string is taken."""
    once: bool
    """For one user only."""
    name: str = ""
    """What the provider calls the user."""
    targets: tuple[str, ...] = ()
    """What may be reached, as `--to` has it; none: all that the provider serves."""
    seconds: int = 0
    """How long the user stays let in, from the first use; 0: no end."""
    rate: int = 0
    """Bits per second; 0: no limit."""
    quota: int = 0
    """Bytes; 0: no limit."""

    @property
    def id(self) -> str:
        """What the provider's lists call it; tells nothing of the signature."""
        return self.nonce.hex()


class _Body(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]
    expires: _Seconds
    once: bool
    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    targets: Annotated[
        tuple[Annotated[str, msgspec.Meta(max_length=MAX_TARGET_TEXT)], ...],
        msgspec.Meta(max_length=MAX_TARGETS),
    ]
    seconds: _Seconds
    rate: _Amount
    quota: _Amount


def new_nonce() -> bytes:
    """A nonce for a new invite."""
    return secrets.token_bytes(NONCE_SIZE)


def sign(invite: Invite, key: KeyPair) -> bytes:
    """The token of `invite`, signed by its provider, whose `key` it is.

    Raises:
        UsageError: something in it is too long or too large.
    """
    head = encode_head(invite)
    token = head + key.sign(CONTEXT + head)
    try:
        decode(token)
    except DecodeError as error:
        raise UsageError(f"that does not fit into an invite: {error}") from error
    return token


def decode(token: bytes) -> Invite:
    """The invite in a token whose signature is its provider's.

    Raises:
        DecodeError: it is none, or one of a later version.
        CryptoError: it was not signed by the provider that it names, or altered afterwards.
    """
    if not token or len(token) > MAX_TOKEN:
        raise DecodeError(f"an invite has 1 to {MAX_TOKEN} bytes, not {len(token)}")
    if token[0] != VERSION:
        raise DecodeError(later_version(token[0]))
    if len(token) <= 1 + PUBLIC_KEY_SIZE + SIGNATURE_SIZE:
        raise DecodeError("the invite is cut off")
    head, signature = token[:-SIGNATURE_SIZE], token[-SIGNATURE_SIZE:]
    try:
        verify(_provider(head), CONTEXT + head, signature)
    except CryptoError as error:
        raise CryptoError("the invite is not as its provider signed it") from error
    return decode_head(head)


def encode_head(invite: Invite) -> bytes:
    """All of a token but the signature: no secret."""
    body = _Body(
        invite.nonce,
        invite.expires,
        invite.once,
        invite.name,
        invite.targets,
        invite.seconds,
        invite.rate,
        invite.quota,
    )
    return bytes([VERSION]) + invite.provider + msgspec.msgpack.encode(body)


def decode_head(head: bytes) -> Invite:
    """The invite in all of a token but the signature.

    Raises:
        DecodeError: it is none.
    """
    encoded = head[1 + PUBLIC_KEY_SIZE :]
    try:
        body = msgspec.msgpack.decode(encoded, type=_Body)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DecodeError(f"the invite holds what it cannot: {error}") from error
    if msgspec.msgpack.encode(body) != encoded:
        raise DecodeError("the invite is not in its shortest form")
    if not all(map(str.isprintable, (body.name, *body.targets))):
        raise DecodeError("the invite holds characters that cannot be shown")
    return Invite(
        _provider(head),
        body.nonce,
        body.expires,
        body.once,
        body.name,
        body.targets,
        body.seconds,
        body.rate,
        body.quota,
    )


def _provider(head: bytes) -> bytes:
    return head[1 : 1 + PUBLIC_KEY_SIZE]


def to_text(token: bytes) -> str:
    """The string that a person passes on."""
    return f"{TEXT_PREFIX}{VERSION}{base58.b58encode(token + _check(token)).decode()}"


def from_text(text: str) -> bytes:
    """The token in such a string, whose signature is its provider's.

    Raises:
        UsageError: it is none; the message says what is wrong and what to do.
    """
    match = _TEXT.fullmatch(text)
    if match is None or len(text) > MAX_TEXT:
        raise UsageError(f"that is not an invite, which begins with {TEXT_PREFIX}{VERSION} and has no blanks")
    if int(match[1]) != VERSION:
        raise UsageError(later_version(int(match[1])))
    try:
        # base58 passes over some characters at the end that count as white space.
        if match[2] != match[2].strip():
            raise ValueError("white space")
        checked = base58.b58decode(match[2])
    except ValueError as error:
        raise UsageError("the invite holds a character that none has; copy it once more, whole") from error
    token, check = checked[:-CHECK_SIZE], checked[-CHECK_SIZE:]
    if check != _check(token):
        raise UsageError("the invite is cut off or a character is wrong; copy it once more, whole")
    try:
        decode(token)
    except (DecodeError, CryptoError) as error:
        raise UsageError(f"{error}; ask the provider for another") from error
    return token


def later_version(version: int) -> str:
    """What to say of an invite whose version is not ours."""
    return f"the invite is of version {version} and this program knows {VERSION}; upgrade nconnect"


def knock(token: bytes, key: bytes) -> str:
    """What a token's holder, whose key is `key`, says in the open before any handshake: the ID, and a proof.

    It is in the identifier of the user's NKN address. Who sees it learns nothing of the token, and another
    key has no use for it.
    """
    return f"{decode(token).id}-{knock_proof(token[-SIGNATURE_SIZE:], key)}"


def knock_proof(signature: bytes, key: bytes) -> str:
    """The proof that goes with `key`, 16 hex digits."""
    return hmac.digest(signature, KNOCK_CONTEXT + key, "sha256")[:KNOCK_PROOF_SIZE].hex()


def _check(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()[:CHECK_SIZE]
