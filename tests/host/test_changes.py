"""Each change: what makes two the same thing, and what reverting it says."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface, ip_network

import pytest

from nconnect.host import sysctl
from nconnect.host.changes import (
    AddressAdded,
    AnyChange,
    LinkUp,
    Outcome,
    ResolverSet,
    RouteAdded,
    RuleAdded,
    SysctlSet,
    TableMade,
    link_changes,
    table_changes,
)
from nconnect.host.desired import DesiredState, Route, Rule
from nconnect.host.netlink import Netlink
from nconnect.host.nft import NftTable

from .namespaces import Netns, write_sysctl

STATE = DesiredState(
    "home",
    "nc0",
    1400,
    (ip_interface("100.64.0.2/32"),),
    (Route(ip_network("10.0.0.0/8"), 700_007),),
    (Rule(5200, 700_007, 4, 0x1063),),
    NftTable("nconnect_home"),
)


def test_a_state_is_changes_in_the_order_to_make_them() -> None:
    assert list(table_changes(STATE)) == [TableMade("nconnect_home")]
    assert list(table_changes(replace(STATE, nft=None))) == []
    assert list(link_changes(STATE, 7)) == [
        LinkUp("nc0", 7, 1400),
        AddressAdded("nc0", 7, "100.64.0.2/32"),
        RouteAdded("nc0", "10.0.0.0/8", 700_007, "unicast"),
        RuleAdded(5200, 700_007, 4, 0x1063, True),
    ]
    resolver = ResolverSet("home", "127.78.67.9")
    assert list(link_changes(replace(STATE, resolver="127.78.67.9"), 7))[-1] == resolver


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LinkUp("nc0", 7, 1400), LinkUp("nc0", 7, 1300), True),
        (SysctlSet("a", "0", "1"), SysctlSet("a", "0", "2"), True),
        (RouteAdded("", "10.0.0.0/8", 7, "throw"), RouteAdded("nc0", "10.0.0.0/8", 7, "unicast"), True),
        (RouteAdded("nc0", "10.0.0.0/8", 7, "unicast"), RouteAdded("nc0", "10.0.0.0/8", 8, "unicast"), False),
        (RuleAdded(5200, 7, 4, 1, True), RuleAdded(5200, 7, 6, 1, True), False),
        (AddressAdded("nc0", 7, "10.0.0.1/32"), AddressAdded("nc0", 7, "10.0.0.1/24"), False),
    ],
)
def test_a_thing_with_another_value_is_the_same_thing(one: AnyChange, other: AnyChange, same: bool) -> None:
    assert (one.key == other.key) is same


@pytest.mark.netns
@pytest.mark.parametrize(
    ("now", "change", "outcome", "then"),
    [
        ("1", SysctlSet("net.ipv4.conf.lo.rp_filter", "0", "1"), Outcome.DONE, "0"),
        ("0", SysctlSet("net.ipv4.conf.lo.rp_filter", "0", "1"), Outcome.GONE, "0"),
        ("2", SysctlSet("net.ipv4.conf.lo.rp_filter", "0", "1"), Outcome.LEFT, "2"),
        ("1", SysctlSet("net.ipv4.conf.lo.rp_filter", "1", "1"), Outcome.NOTHING, "1"),
    ],
)
def test_a_sysctl_goes_back_only_from_our_value(
    netns: Netns, now: str, change: SysctlSet, outcome: Outcome, then: str
) -> None:
    write_sysctl("net/ipv4/conf/lo/rp_filter", now)
    with Netlink() as netlink:
        assert change.revert(netlink) is outcome
    assert sysctl.read(change.name) == then


@pytest.mark.netns
@pytest.mark.parametrize(
    "change",
    [
        TableMade("nconnect_home"),
        SysctlSet("net.ipv4.conf.gone.rp_filter", "0", "1"),
        LinkUp("nc0", 7, 1400),
        LinkUp("lo", 7, 1400),
        AddressAdded("nc0", 7, "100.64.0.2/32"),
        AddressAdded("lo", 7, "127.0.0.1/8"),
        RouteAdded("nc0", "10.0.0.0/8", 700_007, "unicast"),
        RouteAdded("nc0", "fd00::/64", 700_007, "throw"),
        RuleAdded(5200, 700_007, 6, 0x1063, True),
    ],
    ids=str,
)
def test_what_is_not_there_or_not_ours_is_gone(netns: Netns, change: AnyChange) -> None:
    with Netlink() as netlink:
        assert change.revert(netlink) is Outcome.GONE
