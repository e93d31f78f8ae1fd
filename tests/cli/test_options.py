"""What options are turned into."""

from __future__ import annotations

import re

import pytest

from nconnect.cli.options import interfaces, parse_host_port, parse_pattern
from nconnect.errors import AddressError, UsageError

KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"
EVES_KEY = "11" * 32


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:1080", "127.0.0.1", 1080),
        ("[::1]:1080", "::1", 1080),
        ("localhost:0", "localhost", 0),
        (":65535", "127.0.0.1", 65535),
    ],
)
def test_host_and_port(text: str, host: str, port: int) -> None:
    assert parse_host_port(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "1080", "host", "host:", "host:65536", "host:-1", "host:1e3", "host:٣", "::1:80", "h:999999"],
)
def test_what_is_no_host_and_port(text: str) -> None:
    with pytest.raises(AddressError):
        parse_host_port(text)


def test_interfaces_replace_those_that_are_configured() -> None:
    configured = ("br-lan+0.100",)
    assert interfaces(None, configured) == configured
    assert interfaces(["ve-*, wg0", "fifteen_letters"], configured) == ("ve-*", "wg0", "fifteen_letters")


@pytest.mark.parametrize("key", [KEY, KEY.upper()])
def test_a_key_as_pattern_is_its_owner_with_any_identifier(key: str) -> None:
    """And nobody who has it as an identifier, which everybody may choose."""
    pattern = re.compile(parse_pattern(key))
    for own in (KEY, f"tunnel.{KEY}", f"a.b.{KEY}"):
        assert pattern.search(own)
    for other in (EVES_KEY, f"{KEY}.{EVES_KEY}", f"x.{KEY}.{EVES_KEY}", f"{KEY}$.{EVES_KEY}"):
        assert not pattern.search(other)


def test_another_pattern_is_for_whole_addresses() -> None:
    """Also where an alternative has but one end."""
    pattern = re.compile(parse_pattern(rf"^alice\.{KEY}|bob\.{KEY}$"))
    for own in (f"alice.{KEY}", f"bob.{KEY}"):
        assert pattern.search(own)
    for other in (f"alice.{KEY}.{EVES_KEY}", f"x.bob.{KEY}"):
        assert not pattern.search(other)


@pytest.mark.parametrize("text", ["alice", f"{KEY}$", f"^{KEY}", rf"^{KEY}\$", r"^\\\$", "$", "^", ""])
def test_a_pattern_for_a_part_of_an_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"give the public key, or .* whole address, from \^ to \$"):
        parse_pattern(text)


def test_what_is_no_pattern() -> None:
    with pytest.raises(UsageError, match=r"'\*' is not a regular expression"):
        parse_pattern("*")
