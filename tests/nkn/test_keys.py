"""Keys and what NKN derives from them, against the official SDK's vectors."""

from __future__ import annotations

from typing import Any

import pytest

from nconnect.errors import AddressError, CryptoError
from nconnect.nkn import keys
from nconnect.nkn.keys import KeyPair, verify


def test_keys_derived_from_a_seed(vectors: dict[str, Any]) -> None:
    for vector in vectors["keys"]:
        key = KeyPair.from_seed(bytes.fromhex(vector["seed"]))
        assert key.public_key.hex() == vector["public_key"]
        assert keys.program_hash(key.public_key).hex() == vector["program_hash"]
        assert key.wallet_address == vector["wallet_address"]


def test_shared_key_is_the_same_on_both_sides(vectors: dict[str, Any]) -> None:
    vector = vectors["shared_key"]
    a = KeyPair.from_seed(bytes.fromhex(vector["seed_a"]))
    b = KeyPair.from_seed(bytes.fromhex(vector["seed_b"]))
    assert a.shared_key(b.public_key).hex() == vector["shared_key"]
    assert b.shared_key(a.public_key).hex() == vector["shared_key"]


def test_shared_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_SHARED_KEYS", 2)
    key = KeyPair.generate()
    peers = [KeyPair.generate() for _ in range(4)]
    for peer in peers:
        assert key.shared_key(peer.public_key) == peer.shared_key(key.public_key)
    assert len(key._shared_keys) == 2


def test_a_signature_verifies_only_for_its_key_and_data() -> None:
    key = KeyPair.generate()
    signature = key.sign(b"data")
    verify(key.public_key, b"data", signature)
    for public_key, data, bad in [
        (KeyPair.generate().public_key, b"data", signature),
        (key.public_key, b"date", signature),
        (key.public_key, b"data", bytes(64)),
        (key.public_key, b"data", b""),
        (b"short", b"data", signature),
    ]:
        with pytest.raises(CryptoError):
            verify(public_key, data, bad)


@pytest.mark.parametrize("public_key", [bytes(32), b"\xff" * 32, b"", b"\x01" + bytes(31)])
def test_unusable_public_keys_are_refused(public_key: bytes) -> None:
    with pytest.raises(CryptoError, match="not a usable"):
        KeyPair.generate().shared_key(public_key)


def test_the_seed_is_not_shown() -> None:
    key = KeyPair.from_seed(bytes(31) + b"\x01")
    assert key.seed.hex() not in repr(key)
    with pytest.raises(AddressError, match="32 bytes, not 5"):
        KeyPair.from_seed(b"12345")
