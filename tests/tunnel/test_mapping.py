"""The same subnet on both sides: which prefix stands in for it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import UsageError
from nconnect.tunnel import mapping
from nconnect.tunnel.control import IPNetwork
from nconnect.tunnel.mapping import POOLS, Mapping

KEY = bytes(range(32))
REAL = ip_network("192.168.1.0/24")


def test_it_is_the_same_one_tomorrow() -> None:
    first = mapping.choose(REAL, KEY, [])
    assert first is not None
    assert first == mapping.choose(REAL, KEY, [])
    assert first.seen.prefixlen == 24
    assert first.seen.overlaps(POOLS[0])


def test_two_providers_with_one_lan_get_two() -> None:
    first, second = mapping.choose(REAL, KEY, []), mapping.choose(REAL, KEY[::-1], [])
    assert first is not None and second is not None
    assert first.seen != second.seen


def test_what_is_taken_is_passed_over() -> None:
    first = mapping.choose(REAL, KEY, [])
    assert first is not None
    around: list[IPNetwork] = [first.seen, first.seen.supernet(4), *first.seen.subnets(2)]
    for taken in around:
        other = mapping.choose(REAL, KEY, [taken])
        assert other is not None
        assert not other.seen.overlaps(taken)


@pytest.mark.parametrize(
    ("real", "taken"),
    [("10.0.0.0/8", []), ("192.168.0.0/16", ["10.0.0.0/8", "198.18.0.0/15"]), ("fd00::/32", [])],
)
def test_there_may_be_none(real: str, taken: list[str]) -> None:
    assert mapping.choose(ip_network(real), KEY, [ip_network(one) for one in taken]) is None


def test_the_next_pool_is_for_who_uses_all_of_the_first() -> None:
    other = mapping.choose(REAL, KEY, [ip_network("10.0.0.0/8")])
    assert other is not None
    assert other.seen.overlaps(ip_network("198.18.0.0/15"))
    own = ip_network("172.30.0.0/16")
    mine = mapping.choose(REAL, KEY, [], [ip_network("fd00::/48"), own])
    assert mine is not None
    assert mine.seen.overlaps(own)


GRANTED = (REAL, ip_network("10.20.0.0/16"), ip_network("fd77::/64"))
CLOSED = (ip_network("127.0.0.0/8"), ip_network("100.64.0.0/20"))


@pytest.mark.parametrize(
    ("wanted", "number", "reason"),
    [
        ("", 0, ""),
        ("192.168.1.0/24=10.201.7.0/24 fd77::/64=fd6e::/64", 2, ""),
        ("192.168.1.20/32=10.201.7.20/32 10.20.3.0/24=10.201.8.0/24", 2, ""),
        ("192.168.0.0/16=10.201.0.0/16 10.20.0.0/16=10.202.0.0/16", 1, "not granted 192.168.0.0/16"),
        ("192.168.2.0/24=10.201.7.0/24", 0, "not granted 192.168.2.0/24"),
        ("192.168.1.0/24=127.0.0.0/24", 0, "127.0.0.0/24 means something else"),
        ("192.168.1.0/24=100.64.7.0/24", 0, "100.64.7.0/24 means something else"),
        ("192.168.1.0/24=10.201.7.0/24 10.20.7.9/32=10.201.7.9/32", 1, "10.201.7.9/32 overlaps another"),
    ],
)
def test_what_a_provider_permits(wanted: str, number: int, reason: str) -> None:
    wish = tuple(map(mapping.parse, wanted.split()))
    answer = mapping.permitted(wish, GRANTED, CLOSED)
    assert len(answer.mappings) == number
    assert set(answer.mappings) <= set(wish)
    assert reason in answer.reason
    assert bool(answer.reason) == (number < len(wish))


@given(st.integers(10, 32), st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_all_prefixes_that_fit_get_one(length: int, bits: int, key: bytes) -> None:
    real = ip_network((bits, length), strict=False)
    found = mapping.choose(real, key, [])
    assert found is not None
    assert found.seen.prefixlen == length
    assert found.seen.overlaps(POOLS[0])


@given(
    st.lists(
        st.builds(
            lambda bits, length: ip_network((bits, length), strict=False),
            st.integers(0x0A000000, 0x0A00FFFF),
            st.integers(14, 32),
        ),
        max_size=20,
    )
)
def test_whatever_is_taken_is_avoided(taken: list[IPNetwork]) -> None:
    found = mapping.choose(REAL, KEY, taken, [ip_network("10.0.0.0/18")])
    free = [one for one in ip_network("10.0.0.0/18").subnets(6) if not any(map(one.overlaps, taken))]
    assert (found is not None) == bool(free)
    assert found is None or found.seen in free


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("192.168.1.20", "10.201.7.20"),
        ("192.168.2.20", "192.168.2.20"),
        ("fd00:1::1:2", "fd6e:636f:6e6e:9::1:2"),
        ("fd00:2::1", "fd00:2::1"),
    ],
)
def test_addresses_move_with_their_prefix(address: str, seen: str) -> None:
    mappings = [
        Mapping(REAL, ip_network("10.201.7.0/24")),
        Mapping(ip_network("fd00:1::/64"), ip_network("fd6e:636f:6e6e:9::/64")),
    ]
    assert mapping.to_user(ip_address(address), mappings) == ip_address(seen)


def test_a_mapping_from_the_command_line() -> None:
    found = mapping.parse("192.168.1.0/24=10.201.7.0/24")
    assert found == Mapping(REAL, ip_network("10.201.7.0/24"))
    assert str(found) == "192.168.1.0/24 → 10.201.7.0/24"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "192.168.1.0/24",
        "192.168.1.0/24=10.0.0.0/16",
        "192.168.1.1/24=10.0.0.0/24",
        "a=b",
        "1=2=3",
        "::/64=10.0.0.0/8",
    ],
)
def test_what_is_no_mapping(text: str) -> None:
    with pytest.raises(UsageError, match="mapping"):
        mapping.parse(text)
