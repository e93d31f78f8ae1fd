"""Addresses and client IDs, against the official SDK's vectors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import AddressError
from nconnect.nkn.addresses import Address, client_id, split_sub_client, sub_client_address

KEY = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"


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
