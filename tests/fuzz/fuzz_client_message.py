"""A binary websocket message, plain and compressed, and the signatures in it."""

from __future__ import annotations

import contextlib
import zlib

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.messages import (
    MAX_FRAME_SIZE,
    Inbound,
    Outbound,
    Receipt,
    decode_frame,
    public_key_of,
    verify_outbound,
    verify_receipt,
)

from .vectors import BOB, vectors

ERRORS = (DecodeError, CryptoError)
SOURCE = BOB.public_key.hex()


def seeds() -> list[bytes]:
    known = vectors("nkn/vectors.json")
    names = ("outbound", "inbound", "receipt")
    frames = [bytes.fromhex(known[name]["client_message"]) for name in names]
    many = bytes.fromhex(known["outbound_multi"]["outbound_message"])
    packed = pb.ClientMessage(message=zlib.compress(many), compression_type=pb.COMPRESSION_ZLIB)
    return [*frames, many, packed.SerializeToString()]


def run(data: bytes) -> None:
    # No mutation gets past zlib's checksum: so the input is also taken for what was compressed.
    packed = pb.ClientMessage(message=zlib.compress(data, 1), compression_type=pb.COMPRESSION_ZLIB)
    with contextlib.suppress(*ERRORS):
        check(packed.SerializeToString())
    check(data)


def check(frame: bytes) -> None:
    message = decode_frame(frame)
    if isinstance(message, Outbound):
        assert len(message.signatures) == len(message.dests) > 0
        assert all(len(message.payload_for(index)) <= MAX_FRAME_SIZE for index in range(len(message.dests)))
        verify_outbound(message, SOURCE, bytes(32))
    elif isinstance(message, Receipt):
        verify_receipt(message, BOB.public_key)
    else:
        assert isinstance(message, Inbound)
        assert len(public_key_of(message.src)) == 32
