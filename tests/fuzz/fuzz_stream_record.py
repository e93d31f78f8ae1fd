"""The records of streams and datagrams between `nconnect socks` and its provider."""

from __future__ import annotations

import contextlib

from nconnect.errors import DecodeError
from nconnect.forward.records import Kind, data_head, decode_data, encode, encode_offset, iter_records
from nconnect.forward.socks5 import Target, decode_target, encode_target

ERRORS = (DecodeError,)


def seeds() -> list[bytes]:
    opening = encode(Kind.OPEN, 1, encode_target(Target("printer.lan", 631)))
    data = data_head(1, 5, 4) + b"data"
    rest = encode_offset(Kind.WINDOW, 1, 1 << 20) + encode_offset(Kind.END, 1, 9) + encode(Kind.RESET, 1)
    return [opening + data + rest, data, encode(Kind.FORGET, 7)]


def run(data: bytes) -> None:
    for kind, number, body in iter_records(memoryview(data)):
        with contextlib.suppress(DecodeError):
            offset, piece = decode_data(body)
            assert offset >= 0 and len(piece) < len(body)
        with contextlib.suppress(DecodeError):
            decode_target(body)
        if kind in Kind._value2member_map_:
            assert encode(Kind(kind), number, bytes(body)) in data
