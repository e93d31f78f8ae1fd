"""The JSON texts of a node: challenge, answer to setClient, block hash, errors."""

from __future__ import annotations

import contextlib

from nconnect.errors import DecodeError
from nconnect.nkn.handshake import (
    ErrorCode,
    NodeInfo,
    decode_node_text,
    encode_block_hash,
    encode_challenge,
    encode_joined,
    encode_node_text,
)

ERRORS = (DecodeError,)
NODE = NodeInfo("127.0.0.1:30002", "127.0.0.1:30003", b"\xee" * 32, b"\x11" * 32)


def seeds() -> list[bytes]:
    texts = [
        encode_challenge(b"\xab" * 32),
        encode_joined(NODE, b"\x11" * 32),
        encode_block_hash(b"\x22" * 32),
        encode_node_text("setClient", ErrorCode.WRONG_NODE, NODE.to_json()),
        encode_node_text("", ErrorCode.ILLEGAL_DATA_FORMAT, None),
    ]
    return [text.encode() for text in texts]


def run(data: bytes) -> None:
    text = decode_node_text(data)
    with contextlib.suppress(DecodeError):
        assert len(text.block_hash) <= len(data)
    with contextlib.suppress(DecodeError):
        assert NodeInfo.from_json(text.node.to_json()) == text.node
    f"{text.error} {text.description}".encode()
