"""The end-to-end part of a message: the payload and the envelope in which relays carry it.

The envelope is NaCl's ``crypto_box`` (XSalsa20-Poly1305 under a key that only the two clients can compute).
For several destinations the body is boxed once under a random key, and that key once per destination.
Source: nkn-sdk-go ``message.go`` and ``client.go`` (``encryptPayload``, ``decryptPayload``).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError
from nacl import bindings
from nacl.exceptions import CryptoError as SodiumError

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.wire import field

MESSAGE_ID_SIZE = 8
# What is taken of others: IDs are remembered for minutes, so one of megabytes would be a hold on our memory.
MAX_MESSAGE_ID_SIZE = 64
NONCE_SIZE = 24
KEY_SIZE = 32
BOX_OVERHEAD = 16  # the Poly1305 tag


class PayloadType(enum.IntEnum):
    """What ``Payload.data`` holds."""

    BINARY = 0
    TEXT = 1
    ACK = 2
    SESSION = 3


@dataclass(frozen=True, slots=True)
class Payload:
    """What one client says to another: a message, a reply or acknowledgement of one, or a session packet.

    ``data`` of TEXT is the encoded ``TextData``: use `text_payload` and `Payload.text`.
    """

    type: PayloadType
    data: bytes = b""
    message_id: bytes = b""
    reply_to_id: bytes = b""
    no_reply: bool = False

    @property
    def text(self) -> str:
        """The string of a TEXT payload; DecodeError if ``data`` is not one."""
        try:
            return pb.TextData.FromString(self.data).text
        except ProtobufError as error:
            raise DecodeError("the data of a text message is not a TextData") from error


def new_message_id() -> bytes:
    """Eight random bytes: the name of a message or session."""
    return os.urandom(MESSAGE_ID_SIZE)


def message_payload(data: str | bytes, message_id: bytes, *, no_reply: bool = False) -> Payload:
    """A message: TEXT for a string, BINARY for bytes. UsageError for a string that is not Unicode text."""
    if isinstance(data, str):
        try:
            text = pb.TextData(text=data).SerializeToString()
        except UnicodeEncodeError as error:
            raise UsageError("a message holds half a surrogate pair: that is not text") from error
        return Payload(PayloadType.TEXT, text, message_id, no_reply=no_reply)
    return Payload(PayloadType.BINARY, data, message_id, no_reply=no_reply)


def reply_payload(data: str | bytes | None, reply_to_id: bytes) -> Payload:
    """The reply to a message, or its bare acknowledgement (``None``). A reply has no ID of its own."""
    if data is None:
        return Payload(PayloadType.ACK, reply_to_id=reply_to_id)
    message = message_payload(data, b"")
    return Payload(message.type, message.data, reply_to_id=reply_to_id)


def encode_payload(payload: Payload) -> bytes:
    """The protobuf ``Payload``."""
    return pb.Payload(
        type=payload.type,  # type: ignore[arg-type]
        message_id=payload.message_id,
        data=payload.data,
        reply_to_id=payload.reply_to_id,
        no_reply=payload.no_reply,
    ).SerializeToString()


_SESSION_HEAD = b"\x08\x03" + field(2, MESSAGE_ID_SIZE)


def encode_session_payload(session_id: bytes, packet: bytes) -> bytes:
    """The same as `encode_payload` of a SESSION payload, in one copy of the packet."""
    return b"".join((_SESSION_HEAD, session_id, field(3, len(packet)), packet))


def decode_payload(data: bytes) -> Payload:
    """Parse a protobuf ``Payload``; DecodeError on anything else, or on a type that we do not know."""
    try:
        message = pb.Payload.FromString(data)
        kind = PayloadType(message.type)
    except (ProtobufError, ValueError) as error:
        raise DecodeError("not a Payload of a known type") from error
    if max(len(message.message_id), len(message.reply_to_id)) > MAX_MESSAGE_ID_SIZE:
        raise DecodeError(f"a message's ID has more than {MAX_MESSAGE_ID_SIZE} bytes")
    return Payload(kind, message.data, message.message_id, message.reply_to_id, message.no_reply)


def seal_parts(plaintext: bytes, shared_key: bytes, nonce: bytes | None = None) -> tuple[bytes, bytes, bytes]:
    """The envelope for one destination as parts to join: what precedes the box, it, what follows it."""
    if nonce is None:
        nonce = os.urandom(NONCE_SIZE)
    box = bindings.crypto_box_easy_afternm(plaintext, nonce, shared_key)
    return field(1, len(box)), box, b"\x10\x01" + field(3, NONCE_SIZE) + nonce


def seal(plaintext: bytes, shared_key: bytes, nonce: bytes | None = None) -> bytes:
    """The envelope for one destination, under the 32-byte key shared with it."""
    return b"".join(seal_parts(plaintext, shared_key, nonce))


def seal_many(plaintext: bytes, shared_keys: Sequence[bytes]) -> list[bytes]:
    """One envelope per destination, in order, for the same content."""
    if len(shared_keys) == 1:
        return [seal(plaintext, shared_keys[0])]
    body_key, body_nonce = os.urandom(KEY_SIZE), os.urandom(NONCE_SIZE)
    body = bindings.crypto_box_easy_afternm(plaintext, body_nonce, body_key)
    envelopes = []
    for shared_key in shared_keys:
        key_nonce = os.urandom(NONCE_SIZE)
        boxed_key = bindings.crypto_box_easy_afternm(body_key, key_nonce, shared_key)
        message = pb.Message(
            payload=body, encrypted=True, nonce=key_nonce + body_nonce, encrypted_key=boxed_key
        )
        envelopes.append(message.SerializeToString())
    return envelopes


def seal_nothing(plaintext: bytes) -> bytes:
    """An unencrypted envelope, which receivers refuse unless told otherwise."""
    return pb.Message(payload=plaintext).SerializeToString()


def open_envelope(
    envelope: bytes, shared_key: bytes, *, allow_unencrypted: bool = False
) -> tuple[bytes, bool]:
    """The content of an envelope and whether it was encrypted.

    DecodeError if it is no envelope; CryptoError if it does not verify or, without ``allow_unencrypted``,
    if it is not encrypted.
    """
    try:
        message = pb.Message.FromString(envelope)
    except ProtobufError as error:
        raise DecodeError("not an envelope") from error
    if not message.encrypted:
        if allow_unencrypted:
            return message.payload, False
        raise CryptoError("an unencrypted message was refused")
    key, nonce, boxed_key = shared_key, message.nonce, message.encrypted_key
    if boxed_key:
        if len(nonce) != 2 * NONCE_SIZE:
            raise DecodeError(f"the envelope's nonces have {len(nonce)} bytes, not {2 * NONCE_SIZE}")
        key, nonce = open_box(boxed_key, nonce[:NONCE_SIZE], shared_key), nonce[NONCE_SIZE:]
        if len(key) != KEY_SIZE:
            raise DecodeError(f"the envelope's key has {len(key)} bytes, not {KEY_SIZE}")
    return open_box(message.payload, nonce, key), True


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """Open one ``crypto_box``; CryptoError if it does not verify."""
    if len(nonce) != NONCE_SIZE or len(box) < BOX_OVERHEAD:
        raise DecodeError("a box is shorter than its tag, or its nonce has the wrong length")
    try:
        return bindings.crypto_box_open_easy_afternm(box, nonce, key)
    except SodiumError as error:
        raise CryptoError("a message's box does not verify") from error
