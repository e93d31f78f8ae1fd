"""The devnet's reading of a message by hand: never anything but what protobuf reads."""

from __future__ import annotations

from nconnect.devnet.frames import parse_single
from nconnect.errors import DecodeError
from nconnect.nkn.messages import Outbound, decode_frame

from .vectors import vectors

# The parser itself has no errors: what it does not know it leaves to protobuf.
ERRORS = ()


def seeds() -> list[bytes]:
    return [bytes.fromhex(vectors("nkn/vectors.json")["outbound"]["client_message"])]


def run(data: bytes) -> None:
    single = parse_single(memoryview(data))
    if single is None:
        return
    dest, payload = single
    try:
        message = decode_frame(data)
    except DecodeError as error:
        raise AssertionError("it passes on what protobuf refuses") from error
    assert isinstance(message, Outbound)
    assert (message.dests, message.payloads) == ((dest,), (bytes(payload),))
    assert message.max_holding_seconds == 0
