"""Options about prefixes by other names."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from nconnect.cli import mapping
from nconnect.config import UpSection
from nconnect.errors import UsageError
from nconnect.tunnel.mapping import POOLS, parse

ONE, OTHER = "192.168.1.0/24=10.201.7.0/24", "fd77::/64=fd99::/64"


def test_nothing_is_asked_for() -> None:
    found = mapping.options(UpSection(), None, None, False)
    assert (found.given, found.pools, found.automatic) == ((), POOLS, True)


def test_options_are_lists() -> None:
    found = mapping.options(UpSection(), [f"{ONE}, {OTHER}"], ["10.9.0.0/16", "fd99::/48"], False)
    assert found.given == (parse(ONE), parse(OTHER))
    assert found.pools == (ip_network("10.9.0.0/16"), ip_network("fd99::/48"))


def test_names_that_are_given_are_used_without_others() -> None:
    found = mapping.options(UpSection(), [ONE], None, True)
    assert (found.given, found.automatic) == ((parse(ONE),), False)


def test_options_replace_what_is_configured() -> None:
    configured = UpSection(maps=(ONE,), map_pools=("10.9.0.0/16",))
    found = mapping.options(configured, None, None, False)
    assert (found.given, found.pools) == ((parse(ONE),), (ip_network("10.9.0.0/16"),))
    found = mapping.options(configured, [OTHER], ["10.8.0.0/16"], False)
    assert (found.given, found.pools) == ((parse(OTHER),), (ip_network("10.8.0.0/16"),))


@pytest.mark.parametrize(
    ("given", "pools", "no_map", "says"),
    [
        (["x"], None, False, "'x' is not a mapping such as"),
        ([f"{ONE},{ONE}"], None, False, "overlap"),
        (["10.0.0.0/24=8.8.8.0/24"], None, False, "8.8.8.0/24 cannot stand for another network"),
        (None, ["8.0.0.0/8"], False, "8.0.0.0/8 cannot stand for another network"),
        (None, ["10.0.0.1/8"], False, "did you mean 10.0.0.0/8?"),
        (None, ["10.9.0.0/16"], True, "leaves nothing for --map-pool"),
    ],
)
def test_what_is_wrong(given: list[str] | None, pools: list[str] | None, no_map: bool, says: str) -> None:
    with pytest.raises(UsageError) as error:
        mapping.options(UpSection(), given, pools, no_map)
    assert says in str(error.value)
