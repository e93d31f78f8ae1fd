"""Whose key is meant: exactly one, never a pattern."""

from __future__ import annotations

import pytest

from nconnect.errors import AddressError, UsageError
from nconnect.nkn.keys import KeyPair
from nconnect.permission.keys import MAX_NAME, check_name, parse_key

KEY = KeyPair.from_seed(bytes(32)).public_key


def test_a_key_may_be_given_as_an_address() -> None:
    assert parse_key(KEY.hex()) == parse_key(f"laptop.{KEY.hex()}") == parse_key(KEY.hex().upper()) == KEY


@pytest.mark.parametrize("text", ["", "laptop", KEY.hex()[:-1], "z" * 64, ".*", f"{KEY.hex()}.laptop"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(AddressError):
        parse_key(text)


@pytest.mark.parametrize(
    "name", ["laptop", "a", "Ann's".replace("'", "-"), "büro", "ann@home.lan", "x" * MAX_NAME]
)
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-x", "a b", "a;b", "a\n", "\x1b[31m", "x" * (MAX_NAME + 1), KEY.hex(), ".", "a/b", "$(reboot)"],
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="not a name for a user") as caught:
        check_name(name)
    assert str(caught.value).isprintable()
