"""The wire between user and provider: one message of the NKN session is one frame, `u8 type` and a body.

====  =======  =============================================================
type  name     body
====  =======  =============================================================
0     control  `u32le number`, then bytes of the TLS stream
1     data     one sealed batch (`nconnect.secure.data`)
====  =======  =============================================================

The session delivers frames as they come, each once. Data batches need no order; the TLS stream does, so its
pieces carry numbers. Frames of other types are skipped, so that versions can differ.
"""

from __future__ import annotations

import struct

from nconnect.errors import DecodeError, ProtocolError

CONTROL = 0
DATA = 1

DATA_PREFIX = bytes([DATA])

MAX_CONTROL_BODY = 16 * 1024
"""Bytes of TLS stream in a frame; a post-quantum ClientHello (about 1.5 KB) or a certificate fits in one.
What a stranger can make us keep is this, times `MAX_CONTROL_AHEAD`, times the handshakes under way."""
MAX_CONTROL_AHEAD = 64
"""Control frames kept while an earlier one is missing: with 4 paths a handful overtake each other."""

_CONTROL_HEADER = struct.Struct("<BI")


def control_frames(first_number: int, stream: bytes, room: int) -> list[bytes]:
    """Cut `stream` into control frames of at most `room` bytes each, numbered from `first_number`."""
    size = min(MAX_CONTROL_BODY, room - _CONTROL_HEADER.size)
    return [
        _CONTROL_HEADER.pack(CONTROL, first_number + index) + stream[offset : offset + size]
        for index, offset in enumerate(range(0, len(stream), size))
    ]


class ControlOrder:
    """Puts control frames back in order by their numbers."""

    def __init__(self) -> None:
        self._next = 0
        self._ahead: dict[int, bytes] = {}

    def receive(self, frame: bytes) -> bytes:
        """Take a control frame; return the bytes of the TLS stream that are in order now, maybe none.

        Raises:
            DecodeError: the frame is shorter than its header, or longer than a control frame may be.
            ProtocolError: the peer leaves more gaps than a session can make.
        """
        if len(frame) < _CONTROL_HEADER.size:
            raise DecodeError(f"control frame of {len(frame)} bytes has no number")
        if len(frame) > _CONTROL_HEADER.size + MAX_CONTROL_BODY:
            raise DecodeError(f"control frame of {len(frame)} bytes: the body has at most {MAX_CONTROL_BODY}")
        number = _CONTROL_HEADER.unpack_from(frame)[1]
        if number < self._next or number in self._ahead:
            return b""
        if number > self._next + MAX_CONTROL_AHEAD:
            raise ProtocolError(f"control frame {number} came while {self._next} is missing")
        self._ahead[number] = frame[_CONTROL_HEADER.size :]
        ready = []
        while (body := self._ahead.pop(self._next, None)) is not None:
            ready.append(body)
            self._next += 1
        return b"".join(ready)
