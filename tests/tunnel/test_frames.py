"""Control frames arrive in any order, some twice, and the TLS stream comes out as it went in."""

from __future__ import annotations

import random

import pytest

from nconnect.errors import DecodeError, ProtocolError
from nconnect.tunnel.frames import (
    CONTROL,
    MAX_CONTROL_AHEAD,
    MAX_CONTROL_BODY,
    ControlOrder,
    control_frames,
)


@pytest.mark.parametrize("seed", range(50))
def test_the_stream_survives_reordering_and_repetition(seed: int) -> None:
    choice = random.Random(seed)
    stream = choice.randbytes(2000)
    pieces = control_frames(0, stream, 105)
    assert all(len(piece) <= 105 and piece[0] == CONTROL for piece in pieces)
    arriving = pieces + choice.sample(pieces, 5)
    choice.shuffle(arriving)
    order = ControlOrder()
    assert b"".join(order.receive(piece) for piece in arriving) == stream


def test_numbers_go_on_from_one_flush_to_the_next() -> None:
    first = control_frames(0, b"x" * 300, 105)
    second = control_frames(len(first), b"yz", 105)
    order = ControlOrder()
    assert order.receive(second[0]) == b""
    assert b"".join(map(order.receive, first)) == b"x" * 300 + b"yz"


def test_a_frame_without_a_number_is_malformed() -> None:
    with pytest.raises(DecodeError, match="no number"):
        ControlOrder().receive(b"\x00\x01")


def test_gaps_are_bounded() -> None:
    order = ControlOrder()
    far = control_frames(MAX_CONTROL_AHEAD + 1, b"x", 100)[0]
    with pytest.raises(ProtocolError, match="is missing"):
        order.receive(far)


def test_a_frame_that_is_too_large_is_not_kept() -> None:
    stream = bytes(MAX_CONTROL_BODY + 1)
    assert [len(piece) for piece in control_frames(0, stream, 1 << 20)] == [MAX_CONTROL_BODY + 5, 6]
    with pytest.raises(DecodeError, match="control frame of"):
        ControlOrder().receive(bytes([CONTROL]) + bytes(4) + stream)
