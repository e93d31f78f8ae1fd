"""Keys, addresses and what NKN derives from them, against the official SDK's vectors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import AddressError, CryptoError
from nconnect.nkn import keys
from nconnect.nkn.keys import Address, KeyPair, client_id, split_sub_client, sub_client_address, verify

KEY = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"


def test_keys_derived_from_a_seed(vectors: dict[str, Any]) -> None:
    for vector in vectors["keys"]:
        key = KeyPair.from_seed(bytes.fromhex(vector["seed"]))
        assert key.public_key.hex() == vector["public_key"]
        assert keys.program_hash(key.public_key).hex() == vector["program_hash"]
        assert key.wallet_address == vector["wallet_address"]


def test_addresses_and_client_ids(vectors: dict[str, Any]) -> None:
    for vector in vectors["addresses"]:
        address = Address.parse(vector["address"])
        assert address.identifier == vector["identifier"]
        assert address.public_key.hex() == vector["public_key"]
        assert str(address) == vector["address"]
        assert client_id(address).hex() == client_id(vector["address"]).hex() == vector["client_id"]
        index, base = split_sub_client(vector["address"])
        expected = vector["without_multiclient_prefix"]
        assert base == expected["addr"]
        assert ("" if index is None else f"__{index}__") == expected["clientID"]


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has 0 characters"),
        ("alice", "has 5 characters"),
        (KEY[:-1], "has 63 characters"),
        ("." + KEY, "identifier before the dot is empty"),
        ("a b." + KEY, "white space"),
        ("a\n." + KEY, "white space"),
        ("g" * 64, "not hexadecimal"),
        ("٣" * 64, "not hexadecimal"),
        (KEY + "\n", "has 65 characters"),
    ],
)
def test_malformed_addresses_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(AddressError, match=says) as caught:
        Address.parse(text)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_parsing_an_address_raises_only_address_errors(text: str) -> None:
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert Address.parse(str(address)) == address


@given(st.text(), st.integers(0, 999))
def test_sub_client_addresses_split_again(base: str, index: int) -> None:
    assert split_sub_client(sub_client_address(base, index)) == (index, base)
    assert sub_client_address(base, -1) == base


def test_the_seed_is_not_shown() -> None:
    key = KeyPair.from_seed(bytes(31) + b"\x01")
    assert key.seed.hex() not in repr(key)
    with pytest.raises(AddressError, match="32 bytes, not 5"):
        KeyPair.from_seed(b"12345")
