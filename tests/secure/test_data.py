from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, DecodeError, ProtocolError, ReplayError, UsageError
from nconnect.secure.data import (
    OVERHEAD,
    REKEY_BATCHES,
    REKEY_SECONDS,
    REPLAY_WINDOW,
    TO_PROVIDER,
    TO_USER,
    Opener,
    Sealer,
)


def exporter(context: bytes, length: int) -> bytes:
    return hashlib.shake_256(b"test" + context).digest(length)


def pair(rekey_batches: int = REKEY_BATCHES) -> tuple[Sealer, Opener]:
    return Sealer(exporter, TO_USER, rekey_batches=rekey_batches), Opener(exporter, TO_USER)


def forge(key_id: int, counter: int, size: int = 40) -> bytes:
    return bytes([key_id]) + counter.to_bytes(8, "little") + bytes(size)


def test_golden_frame() -> None:
    sealer, _ = pair()
    sealer.seal(b"first", 0.0)
    frame = sealer.seal(b"second", 0.0, b"\x01")
    key = exporter(TO_USER + bytes(8), 32)
    header = b"\0" + (1).to_bytes(8, "little")
    nonce = bytes(4) + (1).to_bytes(8, "little")
    assert frame == b"\x01" + header + AESGCM(key).encrypt(nonce, b"second", header)


@given(st.lists(st.binary(max_size=3000), max_size=8), st.binary(max_size=2))
def test_what_is_sealed_opens(batches: list[bytes], prefix: bytes) -> None:
    sealer, opener = pair()
    for batch in batches:
        frame = sealer.seal(memoryview(batch), 5.0, prefix)
        assert frame.startswith(prefix) and len(frame) == len(prefix) + len(batch) + OVERHEAD
        assert opener.open(memoryview(frame)[len(prefix) :]) == batch


def test_a_large_batch_after_small_ones_and_back() -> None:
    sealer, opener = pair()
    for size in (10, 128 * 1024, 10):
        batch = os.urandom(size)
        assert opener.open(sealer.seal(batch, 0.0)) == batch


def test_frames_already_handed_out_do_not_change() -> None:
    sealer, opener = pair()
    frames = [sealer.seal(bytes([number]) * 100, 0.0) for number in range(5)]
    assert [opener.open(frame)[0] for frame in frames] == [0, 1, 2, 3, 4]


def test_batches_may_overtake_each_other_and_come_once() -> None:
    sealer, opener = pair()
    frames = [sealer.seal(bytes([number]), 0.0) for number in range(100)]
    for number in reversed(range(100)):
        assert opener.open(frames[number]) == bytes([number])
    for frame in frames:
        with pytest.raises(ReplayError, match="of key 0 came before"):
            opener.open(frame)


def test_a_batch_older_than_the_window_is_refused() -> None:
    sealer, opener = pair()
    late = sealer.seal(b"late", 0.0)
    for _ in range(REPLAY_WINDOW):
        frame = sealer.seal(b"", 0.0)
    opener.open(frame)
    with pytest.raises(ReplayError, match="too old"):
        opener.open(late)


def test_directions_have_different_keys() -> None:
    frame = Sealer(exporter, TO_PROVIDER).seal(b"mine", 0.0)
    with pytest.raises(CryptoError):
        Opener(exporter, TO_USER).open(frame)


@pytest.mark.parametrize("at", [0, 1, 8, 9, 12, -1])
def test_a_flipped_bit_anywhere_is_noticed(at: int) -> None:
    sealer, opener = pair()
    frame = sealer.seal(b"hello", 0.0)
    broken = bytearray(frame)
    broken[at] ^= 1
    with pytest.raises(CryptoError):
        opener.open(broken)
    assert opener.open(frame) == b"hello"


@pytest.mark.parametrize("length", [0, 1, 9, OVERHEAD - 1])
def test_a_frame_cut_off_is_refused(length: int) -> None:
    sealer, opener = pair()
    with pytest.raises(DecodeError, match=f"{length} bytes"):
        opener.open(sealer.seal(b"hello", 0.0)[:length])


def test_forged_counters_do_not_move_the_window() -> None:
    sealer, opener = pair()
    frame = sealer.seal(b"hello", 0.0)
    for counter in (0, 1 << 40, 2**64 - 1):
        with pytest.raises(CryptoError, match="not authentic"):
            opener.open(forge(0, counter))
    assert opener.open(frame) == b"hello"


def test_a_forged_next_epoch_changes_nothing() -> None:
    sealer, opener = pair()
    with pytest.raises(CryptoError, match="not authentic"):
        opener.open(forge(1, 0))
    assert opener.epoch == 0
    assert opener.open(sealer.seal(b"hello", 0.0)) == b"hello"


@pytest.mark.parametrize("key_id", [2, 3, 128, 255])
def test_keys_that_are_neither_in_use_nor_next(key_id: int) -> None:
    _, opener = pair()
    with pytest.raises(CryptoError, match=f"key {key_id}, which is neither"):
        opener.open(forge(key_id, 0))


def test_a_new_key_after_so_many_batches() -> None:
    sealer, opener = pair(rekey_batches=3)
    frames = [sealer.seal(b"x", 0.0) for _ in range(7)]
    assert [frame[0] for frame in frames] == [0, 0, 0, 1, 1, 1, 2]
    assert [int.from_bytes(frame[1:9], "little") for frame in frames] == [0, 1, 2, 0, 1, 2, 0]
    for frame in frames:
        opener.open(frame)
    assert opener.epoch == sealer.epoch == 2


def test_a_new_key_after_so_many_seconds() -> None:
    sealer, opener = pair()
    start = 1000.0
    for now, epoch in ((0.0, 0), (REKEY_SECONDS - 1, 0), (REKEY_SECONDS, 1), (2 * REKEY_SECONDS, 2)):
        opener.open(sealer.seal(b"x", start + now))
        assert sealer.epoch == opener.epoch == epoch


def test_a_long_silence_moves_on_by_one_epoch_only() -> None:
    sealer, opener = pair()
    opener.open(sealer.seal(b"x", 0.0))
    assert opener.open(sealer.seal(b"y", 100 * REKEY_SECONDS)) == b"y"
    assert opener.epoch == 1


def test_stragglers_of_the_epoch_before_are_taken_and_of_older_ones_not() -> None:
    sealer, opener = pair(rekey_batches=2)
    first, straggler, second, _, third, _ = (sealer.seal(bytes([number]), 0.0) for number in range(6))
    assert opener.open(second) == b"\2"
    assert opener.open(straggler) == b"\1"
    with pytest.raises(ReplayError):
        opener.open(straggler)
    opener.open(third)
    with pytest.raises(CryptoError, match="neither"):
        opener.open(first)


def test_key_ids_come_round_again() -> None:
    sealer, opener = pair(rekey_batches=1)
    for number in range(600):
        batch = number.to_bytes(2, "big")
        assert opener.open(sealer.seal(batch, 0.0)) == batch
    assert opener.epoch == 599
    first_lap = Sealer(exporter, TO_USER).seal(b"again", 0.0)
    with pytest.raises(CryptoError, match="not authentic"):
        opener.open(bytes([600 & 0xFF]) + first_lap[1:])


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError):
        Sealer(exporter, TO_USER, rekey_batches=REKEY_BATCHES + 1)
    with pytest.raises(UsageError):
        Sealer(exporter, TO_USER, rekey_seconds=0)


@given(st.binary(max_size=100))
def test_random_frames_raise_protocol_errors_only(data: bytes) -> None:
    _, opener = pair()
    with pytest.raises(ProtocolError):
        opener.open(data)
