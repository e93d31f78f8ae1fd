"""The binary messages between a client and its node, and the signature that pays for relaying them.

A frame (one binary websocket message) is a ``ClientMessage`` around an outbound message (client → node), an
inbound message (node → client) or a receipt (client → node). Everything a client or a node needs of the
protocol that is bytes or text can be imported from here. Source: nknd ``pb/clientmessage.proto``,
``pb/sigchain.go``; nkn-sdk-js ``client/message.js``.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError as ProtobufError

from nconnect.errors import AddressError, DecodeError, UsageError
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn import wire
from nconnect.nkn.addresses import client_id, parse_public_key
from nconnect.nkn.envelope import (
    MESSAGE_ID_SIZE,
    NONCE_SIZE,
    Payload,
    PayloadType,
    decode_payload,
    encode_payload,
    encode_session_payload,
    message_payload,
    new_message_id,
    open_envelope,
    reply_payload,
    seal,
    seal_many,
    seal_nothing,
    seal_parts,
)
from nconnect.nkn.handshake import (
    AUTH_CHALLENGE,
    CHALLENGE_SIZE,
    SET_CLIENT,
    UPDATE_BLOCK_HASH,
    ErrorCode,
    NodeInfo,
    NodeText,
    SetClient,
    decode_client_text,
    decode_node_text,
    encode_block_hash,
    encode_challenge,
    encode_joined,
    encode_node_text,
    encode_set_client,
    sign_challenge,
    verify_challenge,
)
from nconnect.nkn.keys import SIGNATURE_SIZE, KeyPair, verify

__all__ = [
    "AUTH_CHALLENGE",
    "CHALLENGE_SIZE",
    "MAX_FRAME_SIZE",
    "MAX_MESSAGE_SIZE",
    "MESSAGE_ID_SIZE",
    "SET_CLIENT",
    "UPDATE_BLOCK_HASH",
    "ErrorCode",
    "Inbound",
    "NodeInfo",
    "NodeText",
    "Outbound",
    "Payload",
    "PayloadType",
    "Receipt",
    "SetClient",
    "Signer",
    "batches",
    "decode_client_text",
    "decode_frame",
    "decode_node_text",
    "decode_payload",
    "encode_block_hash",
    "encode_challenge",
    "encode_inbound",
    "encode_joined",
    "encode_node_text",
    "encode_outbound",
    "encode_payload",
    "encode_receipt",
    "encode_session_message",
    "encode_session_payload",
    "encode_set_client",
    "message_payload",
    "new_message_id",
    "open_envelope",
    "public_key_of",
    "reply_payload",
    "seal",
    "seal_many",
    "seal_nothing",
    "seal_parts",
    "sign_challenge",
    "verify_challenge",
    "verify_outbound",
    "verify_receipt",
]

# nknd config.MaxClientMessageSize: the node closes a websocket that sends more, and so do we; it bounds
# what a compressed message may inflate to as well.
MAX_FRAME_SIZE = 4 * 1024 * 1024
# What the official SDKs put into one message at most, leaving room for the fields around it.
MAX_MESSAGE_SIZE = 4_000_000
# Destinations of one message: each has a key of 64 digits and a signature of 64 bytes.
MAX_DESTINATIONS = MAX_FRAME_SIZE // 128

# Destinations whose signed metadata a Signer keeps: about 200 bytes each.
MAX_SIGNED_DESTINATIONS = 1024


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message that a client hands to its node.

    ``payloads`` has one envelope for all, or one per destination.
    """

    dests: tuple[str, ...]
    payloads: tuple[bytes, ...] = field(repr=False)
    signatures: tuple[bytes, ...] = field(repr=False)
    nonce: int
    block_hash: bytes
    max_holding_seconds: int = 0

    def payload_for(self, index: int) -> bytes:
        """The envelope for destination ``index``."""
        return self.payloads[index if len(self.payloads) > 1 else 0]


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message that a node hands to a client; a ``prev_hash`` asks for a `Receipt`."""

    src: str
    payload: bytes = field(repr=False)
    prev_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A client's signature for a message that it got."""

    prev_hash: bytes
    signature: bytes


def public_key_of(address: str) -> bytes:
    """The public key of an address that came over the network; DecodeError if it has none."""
    try:
        return parse_public_key(address.rpartition(".")[2])
    except AddressError as error:
        raise DecodeError("a message's source is not an NKN address") from error


# --- signatures ---


def _element(next_public_key: bytes) -> bytes:
    """The signer's own link of the signature chain: no ID, the next relay's key, not mining."""
    return wire.varbytes(b"") + wire.varbytes(next_public_key) + b"\x00"


def _destination(address: str) -> bytes:
    return wire.varbytes(client_id(address)) + wire.varbytes(public_key_of(address))


class Signer:
    """Signs messages of one client for one node and block hash.

    It keeps all that does not change with the message. The content is not signed, only its length: one
    signature is the same price for any size.
    """

    __slots__ = ("_destinations", "_element", "_key", "_source", "block_hash", "block_hash_field")

    def __init__(self, key: KeyPair, src: str, node_public_key: bytes, block_hash: bytes) -> None:
        self._key = key
        self.block_hash = block_hash
        self.block_hash_field = wire.field(6, len(block_hash)) + block_hash if block_hash else b""
        """As it stands in an OutboundMessage."""
        self._element = _element(node_public_key)
        self._source = (
            wire.varbytes(block_hash) + wire.varbytes(client_id(src)) + wire.varbytes(key.public_key)
        )
        self._destinations: dict[str, bytes] = {}

    def sign(self, dest: str, length: int, nonce: int) -> bytes:
        """The signature for an envelope of ``length`` bytes to ``dest``."""
        metadata = struct.pack("<II", nonce, length) + self._metadata(dest)
        return self._key.sign(_chain_digest(hashlib.sha256(metadata).digest(), self._element))

    def _metadata(self, dest: str) -> bytes:
        metadata = self._destinations.get(dest)
        if metadata is None:
            if len(self._destinations) >= MAX_SIGNED_DESTINATIONS:
                self._destinations.clear()
            metadata = self._destinations[dest] = self._source + _destination(dest)
        return metadata


def _chain_digest(previous: bytes, element: bytes) -> bytes:
    return hashlib.sha256(previous + element).digest()


def verify_outbound(message: Outbound, src: str, node_public_key: bytes) -> None:
    """Check every signature of a message from ``src`` as a node does.

    CryptoError if one is not the client's.
    """
    key = public_key_of(src)
    source = wire.varbytes(message.block_hash) + wire.varbytes(client_id(src)) + wire.varbytes(key)
    element = _element(node_public_key)
    for index, dest in enumerate(message.dests):
        length = len(message.payload_for(index))
        metadata = struct.pack("<II", message.nonce, length) + source + _destination(dest)
        digest = _chain_digest(hashlib.sha256(metadata).digest(), element)
        verify(key, digest, message.signatures[index])


def verify_receipt(receipt: Receipt, public_key: bytes) -> None:
    """CryptoError unless the receipt was signed by ``public_key``."""
    digest = _chain_digest(hashlib.sha256(receipt.prev_hash).digest(), _element(b""))
    verify(public_key, digest, receipt.signature)


# --- encoding ---

_INBOUND_HEAD = b"\x08\x01"  # message_type: INBOUND_MESSAGE
# What precedes the content of OutboundMessage's nonce, and of a signature.
_NONCE = b"\x28"
_SIGNATURE = wire.field(7, SIGNATURE_SIZE)


def encode_outbound(
    signer: Signer,
    dests: Sequence[str],
    payloads: Sequence[bytes],
    *,
    max_holding_seconds: int = 0,
    nonce: int | None = None,
) -> bytes:
    """The frame that sends envelopes: one for all destinations, or one for each.

    UsageError if the counts do not fit or the message is larger than a node takes.
    """
    if not dests or len(payloads) not in (1, len(dests)):
        raise UsageError(f"{len(payloads)} payloads for {len(dests)} destinations")
    nonce = int.from_bytes(os.urandom(4), "little") if nonce is None else nonce
    lengths = [len(payloads[index if len(payloads) > 1 else 0]) for index in range(len(dests))]
    message = pb.OutboundMessage(
        dests=dests,
        max_holding_seconds=max_holding_seconds,
        nonce=nonce,
        block_hash=signer.block_hash,
        signatures=[signer.sign(dest, length, nonce) for dest, length in zip(dests, lengths, strict=True)],
        payloads=payloads,
    ).SerializeToString()
    if len(message) > MAX_FRAME_SIZE - 16:
        raise UsageError(
            f"a message of {len(message)} bytes is larger than a node takes ({MAX_MESSAGE_SIZE})"
        )
    if len(payloads) == 1:
        return pb.ClientMessage(message=message).SerializeToString()
    return pb.ClientMessage(
        message=zlib.compress(message), compression_type=pb.COMPRESSION_ZLIB
    ).SerializeToString()


def encode_session_message(signer: Signer, dest: str, plaintext: bytes, shared_key: bytes) -> bytes:
    """Seal one payload for one destination and put it in a frame, all in one join: the hot path.

    Byte for byte what `seal` and `encode_outbound` make.
    """
    random = os.urandom(NONCE_SIZE + 4)
    before, box, after = seal_parts(plaintext, shared_key, random[:NONCE_SIZE])
    length = len(before) + len(box) + len(after)
    nonce = int.from_bytes(random[NONCE_SIZE:], "little")
    address = dest.encode()
    head = (
        wire.field(3, len(address))
        + address
        + (_NONCE + wire.varint(nonce) if nonce else b"")
        + signer.block_hash_field
        + _SIGNATURE
        + signer.sign(dest, length, nonce)
        + wire.field(8, length)
    )
    return b"".join((wire.field(2, len(head) + length), head, before, box, after))


def encode_inbound(src: str, payload: bytes, prev_hash: bytes = b"") -> bytes:
    """The frame that delivers an envelope, with one copy of it."""
    source = src.encode()
    head = wire.field(1, len(source)) + source + wire.field(2, len(payload))
    tail = wire.field(3, len(prev_hash)) + prev_hash if prev_hash else b""
    length = len(head) + len(payload) + len(tail)
    return b"".join((_INBOUND_HEAD, wire.field(2, length), head, payload, tail))


def encode_receipt(key: KeyPair, prev_hash: bytes) -> bytes:
    """The frame that acknowledges to the node a message that asked for it."""
    signature = key.sign(_chain_digest(hashlib.sha256(prev_hash).digest(), _element(b"")))
    message = pb.Receipt(prev_hash=prev_hash, signature=signature).SerializeToString()
    return pb.ClientMessage(message_type=pb.RECEIPT, message=message).SerializeToString()


def batches(dests: list[str], envelopes: list[bytes]) -> Iterator[tuple[list[str], list[bytes]]]:
    """Cut a message to many into what one frame may hold; UsageError if it is too large even for one."""
    size = 0
    batch_dests: list[str] = []
    batch_envelopes: list[bytes] = []
    shared = len(envelopes) == 1
    for position, dest in enumerate(dests):
        envelope = envelopes[0 if shared else position]
        # 16 bytes more for the sub-client prefix and the prefixes of protobuf's fields.
        cost = len(dest) + SIGNATURE_SIZE + 16 + (0 if shared and batch_dests else len(envelope))
        if size + cost > MAX_MESSAGE_SIZE:
            if not batch_dests:
                raise UsageError(
                    f"a message of {len(envelope)} bytes is larger than NKN carries ({MAX_MESSAGE_SIZE})"
                )
            yield batch_dests, batch_envelopes
            batch_dests, batch_envelopes, size = [], [], 0
            cost = len(dest) + SIGNATURE_SIZE + 16 + len(envelope)
        batch_dests.append(dest)
        if not (shared and batch_envelopes):
            batch_envelopes.append(envelope)
        size += cost
    yield batch_dests, batch_envelopes


# --- decoding ---


def decode_frame(frame: bytes | memoryview) -> Outbound | Inbound | Receipt:
    """Parse one binary websocket message of either direction; DecodeError if it is none."""
    if len(frame) > MAX_FRAME_SIZE:
        raise DecodeError(f"a frame of {len(frame)} bytes is larger than {MAX_FRAME_SIZE}")
    try:
        client_message = pb.ClientMessage.FromString(frame)  # type: ignore[arg-type]  # takes any buffer
        message = client_message.message
        if client_message.compression_type != pb.COMPRESSION_NONE:
            message = _decompress(message, client_message.compression_type)
        kind = client_message.message_type
        if kind == pb.INBOUND_MESSAGE:
            inbound = pb.InboundMessage.FromString(message)
            return Inbound(inbound.src, inbound.payload, inbound.prev_hash)
        if kind == pb.OUTBOUND_MESSAGE:
            return _outbound(pb.OutboundMessage.FromString(message))
        if kind == pb.RECEIPT:
            receipt = pb.Receipt.FromString(message)
            return Receipt(receipt.prev_hash, receipt.signature)
    except ProtobufError as error:
        raise DecodeError("a frame is not a message of the NKN client protocol") from error
    raise DecodeError(f"a frame of unknown type {kind}")


def _outbound(message: pb.OutboundMessage) -> Outbound:
    if max(len(message.dests), len(message.payloads), len(message.signatures)) > MAX_DESTINATIONS:
        raise DecodeError(f"more destinations, payloads or signatures than {MAX_DESTINATIONS}")
    # Old clients fill the singular fields; nodes take both.
    dests = tuple(message.dests) or ((message.dest,) if message.dest else ())
    payloads = tuple(message.payloads) or ((message.payload,) if message.payload else ())
    signatures = tuple(message.signatures)
    if not dests or len(payloads) not in (1, len(dests)) or len(signatures) != len(dests):
        raise DecodeError(
            f"{len(dests)} destinations with {len(payloads)} payloads and {len(signatures)} signatures"
        )
    return Outbound(
        dests, payloads, signatures, message.nonce, message.block_hash, message.max_holding_seconds
    )


def _decompress(data: bytes, compression: int) -> bytes:
    if compression != pb.COMPRESSION_ZLIB:
        raise DecodeError(f"unknown compression {compression}")
    inflater = zlib.decompressobj()
    try:
        message = inflater.decompress(data, MAX_FRAME_SIZE + 1)
    except zlib.error as error:
        raise DecodeError("a compressed message does not inflate") from error
    if len(message) > MAX_FRAME_SIZE or not inflater.eof:
        raise DecodeError(
            f"a compressed message is cut short or inflates to more than {MAX_FRAME_SIZE} bytes"
        )
    return message
