"""Which of the offered networks get another name on the user's machine, and what the provider says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nconnect.errors import UsageError
from nconnect.host.networks import Connected, contains
from nconnect.tunnel import mapping
from nconnect.tunnel.control import CAPABILITY_MAP, MAX_MAPPINGS, IPNetwork, Mappings, Welcome
from nconnect.tunnel.mapping import POOLS
from nconnect.tunnel.remapping import Choice, Here, MapOptions, Remapping, choose

KEY = bytes(range(32))


def nets(text: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, text.split()))


def welcome(offered: str, *, can_map: bool = True) -> Welcome:
    return Welcome(
        (ip_address("100.64.0.2"),),
        (ip_address("100.64.0.1"),),
        1500,
        nets(offered),
        capabilities=frozenset({CAPABILITY_MAP} if can_map else ()),
    )


def at(*networks: str, tunnels: str = "", reached: str = "") -> Here:
    """A machine in these networks, each by a link of its own, and with another tunnel to some."""
    return Here(
        [Connected(ip_network(one), f"eth{number}") for number, one in enumerate(networks)],
        [Connected(one, "nc-other") for one in nets(tunnels)],
        lambda: nets(reached),
    )


def options(*given: str, pools: str = "", automatic: bool = True) -> MapOptions:
    return MapOptions(tuple(map(mapping.parse, given)), nets(pools) or POOLS, automatic)


def chosen(
    offered: str, here: Here, wanted: MapOptions | None = None, before: Choice | None = None
) -> Choice:
    return choose(welcome(offered), here, wanted or MapOptions(), KEY, before=before or Choice())


def test_what_nobody_else_has_is_taken_as_it_is() -> None:
    offered = "192.168.1.0/24 10.0.0.0/8 fd77::/64"
    assert chosen(offered, at("192.168.2.0/24", "10.1.2.0/24")) == Choice(nets(offered))


@pytest.mark.parametrize("mine", ["192.168.1.0/24", "192.168.0.0/16"])
def test_what_this_machine_has_itself_gets_another_name(mine: str) -> None:
    found = chosen("192.168.1.0/24 10.0.5.0/24", at(mine))
    assert found.routes == nets("10.0.5.0/24")
    assert found.conflicts == ()
    [one] = found.mappings
    assert one.real == ip_network("192.168.1.0/24")
    assert one.seen.prefixlen == 24
    assert one.seen.overlaps(POOLS[0])


def test_names_avoid_all_that_means_something_here() -> None:
    """Networks, their routers' routes, what the provider offers and has itself."""
    pool = "10.192.0.0/22"
    here = at("192.168.1.0/24", "10.192.0.0/24", reached="10.192.1.0/25")
    found = chosen("192.168.1.0/24 10.192.2.0/24", here, options(pools=pool))
    assert [one.seen for one in found.mappings] == [ip_network("10.192.3.0/24")]
    full = chosen("192.168.1.0/24 10.192.2.0/23", here, options(pools=pool))
    assert (full.mappings, full.routes) == ((), nets("10.192.2.0/23"))
    [conflict] = full.conflicts
    assert str(conflict) == (
        "192.168.1.0/24 is offered, but this machine is itself in 192.168.1.0/24 (eth0), "
        "and no other name is free in 10.192.0.0/22; give it one with --map"
    )


def test_single_machines_of_one_network_keep_their_last_part() -> None:
    offered = "192.168.1.20/32 192.168.1.128/26 192.168.2.7/32 fd77::20/128"
    found = chosen(offered, at("192.168.0.0/16", "fd77::/64"))
    a, b, other, six = (one.seen for one in found.mappings)
    assert a.supernet(new_prefix=24) == b.supernet(new_prefix=24) != other.supernet(new_prefix=24)
    assert str(a).endswith(".20/32")
    assert str(b).endswith(".128/26")
    assert str(other).endswith(".7/32")
    assert str(six).endswith("::20/128")
    later = chosen(offered + " 192.168.1.30/32", at("192.168.0.0/16"), before=found)
    assert str(later.mappings[-1].seen) == str(a).replace(".20/32", ".30/32")


def test_a_name_stays_while_it_means_nothing_else() -> None:
    first = chosen("192.168.1.0/24", at("192.168.1.0/24"))
    left = chosen("192.168.1.0/24", at(), before=first)
    assert left == Choice(nets("192.168.1.0/24"), first.mappings)
    name = str(first.mappings[0].seen)
    taken = chosen("192.168.1.0/24", at("192.168.1.0/24", name), before=first)
    assert taken.mappings[0].seen != ip_network(name)
    withdrawn = chosen("192.168.2.0/24", at(), before=first)
    assert withdrawn == Choice(nets("192.168.2.0/24"))


@pytest.mark.parametrize("later", ["10.0.0.0/8 fd00::/8", "10.192.0.0/10 10.0.0.0/15"])
def test_who_came_first_keeps_its_part_of_what_another_tunnel_has(later: str) -> None:
    """The other tunnel leaves it to this one."""
    offered, home = "10.1.0.0/16 192.168.1.0/24 fd77::/64", "192.168.1.0/24"
    first = chosen(offered, at(home))
    assert chosen(offered, at(home, tunnels=later), before=first) == first


def test_what_comes_second_gets_another_name_in_another_tunnel_s_network() -> None:
    for offered in ("10.1.0.0/16", "192.168.1.0/24"):
        found = chosen(offered, at(tunnels="10.0.0.0/8 192.168.1.0/24"))
        assert (found.routes, [one.real for one in found.mappings]) == ((), list(nets(offered)))


def test_what_two_tunnels_took_at_the_same_moment_neither_keeps() -> None:
    first = chosen("10.1.0.0/16", at())
    found = chosen("10.1.0.0/16", at(tunnels="10.1.0.0/16"), before=first)
    assert (found.routes, len(found.mappings)) == ((), 1)


def test_names_of_the_user_s_choice() -> None:
    wanted = options("192.168.1.0/24=10.9.1.0/24", "10.0.7.0/24=10.9.2.0/24", "172.16.0.0/24=10.9.3.0/24")
    found = chosen("192.168.1.0/24 10.0.0.0/16", at(), wanted)
    # The part of a network goes by both.
    assert found == Choice(nets("10.0.0.0/16"), wanted.given[:2])
    remapping = Remapping(wanted, KEY)
    assert remapping.not_offered(welcome("192.168.1.0/24 10.0.0.0/16")) == [wanted.given[2]]


def test_a_name_of_the_user_s_choice_that_means_something_here() -> None:
    """Neither the name nor another one: the user said what it wants."""
    found = chosen("192.168.1.0/24", at("10.9.1.0/26"), options("192.168.1.0/24=10.9.1.0/24"))
    assert (found.routes, found.mappings) == ((), ())
    assert "the name that you gave it, 10.9.1.0/24, overlaps 10.9.1.0/26 (eth0)" in str(found.conflicts[0])


def test_without_names_it_is_left_out() -> None:
    found = chosen("192.168.1.0/24", at("192.168.1.0/24"), options(automatic=False))
    assert (found.routes, found.mappings) == ((), ())
    assert str(found.conflicts[0]).endswith("but this machine is itself in 192.168.1.0/24 (eth0)")


def test_a_provider_that_translates_nothing() -> None:
    wanted = options("10.0.0.0/24=10.9.0.0/24")
    offer = welcome("192.168.1.0/24 10.0.0.0/24", can_map=False)
    found = choose(offer, at("192.168.1.0/24"), wanted, KEY)
    assert (found.routes, found.mappings) == ((), ())
    assert [str(one.route) for one in found.conflicts] == ["192.168.1.0/24", "10.0.0.0/24"]


def test_no_more_than_the_provider_takes() -> None:
    offered = " ".join(f"192.168.{number}.0/24" for number in range(MAX_MAPPINGS + 1))
    found = chosen(offered, at("192.168.0.0/16"))
    assert (len(found.mappings), len(found.conflicts)) == (MAX_MAPPINGS, 1)


@pytest.mark.parametrize("forbidden", ["169.254.0.0/16", "127.0.0.0/8", "fe80::/64"])
def test_what_is_every_machine_s_own_has_no_other_name(forbidden: str) -> None:
    assert chosen(forbidden, at(forbidden)).mappings == ()


prefixes = st.builds(
    lambda bits, length: ip_network((bits << 16 & 0xFFFFFFFF, length), strict=False),
    st.integers(0x0A00, 0x0AFF),
    st.integers(10, 30),
)


@settings(deadline=None)
@given(st.lists(prefixes, max_size=6), st.lists(prefixes, max_size=6))
def test_nothing_that_this_machine_has_is_cut_off(
    offered: Sequence[IPNetwork], mine: Sequence[IPNetwork]
) -> None:
    offer = dataclasses.replace(welcome(""), routes=tuple(offered))
    here = Here([Connected(one, "eth0") for one in mine])
    found = choose(offer, here, MapOptions(), KEY)
    for one in found.routes:
        assert not any(contains(own, one) for own in mine)
    names = [one.seen for one in found.mappings]
    for number, name in enumerate(names):
        others = [*mine, *offered, *names[:number]]
        assert not any(name.overlaps(other) for other in others)
    assert {*found.routes, *(one.real for one in found.mappings)} | {
        one.route for one in found.conflicts
    } == set(offered)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (("10.0.0.0/24=8.8.8.0/24",), "8.8.8.0/24 cannot stand for another network"),
        (("10.0.0.0/24=127.0.1.0/24",), "cannot stand"),
        (("10.0.0.0/24=10.9.0.0/24", "10.1.0.0/24=10.9.0.0/24"), "overlap"),
        (("10.0.0.0/24=10.9.0.0/24", "10.0.0.7/32=10.8.0.7/32"), "overlap"),
    ],
)
def test_choices_that_make_no_sense(wanted: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        options(*wanted)


class TestAsking:
    OFFER = welcome("192.168.1.0/24")
    HOME = at("192.168.1.0/24")

    def test_a_name_leads_to_the_provider_once_that_says_so(self) -> None:
        remapping = Remapping(MapOptions(), KEY)
        remapping.welcomed(self.OFFER)
        assert remapping.look(self.OFFER, self.HOME)
        assert not remapping.look(self.OFFER, self.HOME)
        assert remapping.must_ask
        question = remapping.ask()
        assert question.mappings == remapping.wish
        assert (remapping.routes, remapping.mappings, remapping.conflicts) == ((), (), ())
        assert not remapping.must_ask
        remapping.answered(Mappings(question.mappings))
        assert remapping.mappings == question.mappings
        assert remapping.routes == (question.mappings[0].seen,)

    def test_a_refusal_has_a_reason(self) -> None:
        remapping = Remapping(MapOptions(), KEY)
        remapping.look(self.OFFER, self.HOME)
        remapping.ask()
        remapping.answered(Mappings((), "no room"))
        assert remapping.routes == ()
        assert str(remapping.conflicts[0]) == (
            "192.168.1.0/24 is offered, but the provider gives it no other name: no room"
        )

    def test_only_the_last_answer_counts_as_one(self) -> None:
        remapping = Remapping(MapOptions(), KEY)
        remapping.look(self.OFFER, self.HOME)
        first = remapping.ask()
        taken = at("192.168.1.0/24", str(first.mappings[0].seen))
        remapping.look(self.OFFER, taken)
        second = remapping.ask()
        remapping.answered(Mappings(first.mappings))
        assert (remapping.mappings, remapping.conflicts) == ((), ())
        remapping.answered(Mappings(second.mappings))
        assert remapping.mappings == second.mappings

    def test_a_wish_that_is_back_is_told_again(self) -> None:
        """The provider is about to do what was asked in between."""
        remapping = Remapping(MapOptions(), KEY)
        remapping.look(self.OFFER, self.HOME)
        remapping.ask()
        remapping.look(welcome("10.0.0.0/24"), at())
        assert remapping.must_ask
        assert remapping.ask().mappings == ()
        remapping.look(self.OFFER, self.HOME)
        assert remapping.must_ask

    def test_a_new_link_knows_what_was_in_hello(self) -> None:
        remapping = Remapping(MapOptions(), KEY)
        remapping.look(self.OFFER, self.HOME)
        remapping.ask()
        again = dataclasses.replace(self.OFFER, mappings=remapping.wish)
        remapping.welcomed(again)
        remapping.look(again, self.HOME)
        assert not remapping.must_ask
        assert remapping.mappings == again.mappings


def test_what_a_kill_switch_is_for_is_what_is_routed_anywhere() -> None:
    """At home the provider's LAN has another name; elsewhere it may have its own."""
    offer = welcome("192.168.1.0/24 10.0.0.0/8 8.8.8.0/24")
    remapping = Remapping(options("10.1.0.0/16=172.20.0.0/16"), KEY)
    remapping.welcomed(offer)
    remapping.look(offer, at("192.168.1.0/24"))
    remapping.answered(remapping.ask())
    (name,) = (one.seen for one in remapping.mappings if one.real == nets("192.168.1.0/24")[0])
    assert set(remapping.anywhere(offer)) == {name, *nets("192.168.1.0/24 10.0.0.0/8 172.20.0.0/16")}
