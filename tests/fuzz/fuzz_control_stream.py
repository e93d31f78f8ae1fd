"""Control frames in any order: the stream that they make again."""

from __future__ import annotations

from nconnect.errors import DecodeError, ProtocolError
from nconnect.tunnel.frames import MAX_CONTROL_AHEAD, ControlOrder, control_frames

ERRORS = (DecodeError, ProtocolError)


def joined(frames: list[bytes]) -> bytes:
    """Frames of up to 255 bytes as one input."""
    return b"".join(bytes([len(frame)]) + frame for frame in frames)


def seeds() -> list[bytes]:
    frames = control_frames(0, bytes(range(100)), room=30)
    far = control_frames(MAX_CONTROL_AHEAD + 1, b"far", room=30)
    return [joined(frames), joined(frames[::-1]), joined([*far, *frames, *frames])]


def run(data: bytes) -> None:
    order = ControlOrder()
    given = taken = position = 0
    while position < len(data):
        frame = data[position + 1 : position + 1 + data[position]]
        position += 1 + data[position]
        given += len(frame)
        taken += len(order.receive(frame))
        assert taken <= given
