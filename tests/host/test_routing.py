"""The table and the rules of an instance, as values."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from nconnect.errors import HostError
from nconnect.host.desired import Route, RouteKind, Rule
from nconnect.host.routing import TABLE_BASE, TABLE_COUNT, is_our_table, routes, rules, table_of

WIDE, NARROW = ip_network("10.0.0.0/8"), ip_network("10.1.2.0/24")


def test_connected_networks_are_thrown_before_the_prefix_around_them_is_routed() -> None:
    assert routes(700_007, [WIDE, WIDE], [NARROW, NARROW]) == (
        Route(NARROW, 700_007, RouteKind.THROW),
        Route(WIDE, 700_007, RouteKind.UNICAST),
    )


def test_marked_packets_are_excepted_for_both_versions() -> None:
    assert rules(700_007) == (Rule(5200, 700_007, 4, 0x1063, True), Rule(5200, 700_007, 6, 0x1063, True))


def test_tables_are_ours_by_their_number() -> None:
    assert table_of("lo") == TABLE_BASE + 1
    assert is_our_table(TABLE_BASE) and is_our_table(TABLE_BASE + TABLE_COUNT - 1)
    assert not any(map(is_our_table, (0, 52, 254, 51_820, TABLE_BASE - 1, TABLE_BASE + TABLE_COUNT)))


def test_a_link_that_is_not_there_has_no_table() -> None:
    with pytest.raises(HostError, match="interface nope is not there"):
        table_of("nope")
