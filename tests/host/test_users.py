"""What a change of users comes to, without a kernel."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nconnect.host.grants import Target
from nconnect.host.user_rules import UserRules
from nconnect.host.userchains import grant_name
from nconnect.host.users import UserChange, Users

LAN, PORTS = (Target(ip_network("10.0.0.0/8")),), (Target(ip_network("10.0.0.1/32"), "tcp", (80, 81)),)
SERVICE = Target(ip_network("10.0.0.1/32"), "tcp", (80, 80))


def rules(*addresses: str, to: tuple[Target, ...] = LAN, rate: int = 0) -> UserRules:
    return UserRules(tuple(map(ip_address, addresses)), to, rate)


def having(*users: UserRules) -> Users:
    return Users().after(Users().plan(users, []))


NOTHING = UserChange()
ANN, BOB = rules("100.64.9.2", "fd09::2"), rules("100.64.9.3")
BOTH = having(ANN, BOB)


def test_who_is_there_already_is_no_change() -> None:
    assert BOTH.plan([ANN, BOB], [ip_address("100.64.9.9")]) == NOTHING


def test_other_rules_replace_those_of_the_same_addresses() -> None:
    slow = rules("100.64.9.2", "fd09::2", rate=8_000)
    assert BOTH.plan([slow], []) == UserChange((ANN,), (slow,))
    assert BOTH.plan([slow, ANN], []) == NOTHING


def test_any_address_names_the_user_to_remove() -> None:
    assert BOTH.plan([], map(ip_address, ("fd09::2", "100.64.9.2"))) == UserChange((ANN,))


def test_who_is_both_changed_and_removed_is_changed() -> None:
    assert BOTH.plan([ANN], [ip_address("100.64.9.2")]) == NOTHING


def test_a_grant_is_made_for_its_first_user_and_removed_after_its_last() -> None:
    first, second = rules("100.64.9.4", to=PORTS), rules("100.64.9.5", to=PORTS)
    assert BOTH.plan([first, second], []) == UserChange((), (first, second), (), (PORTS,))
    four = having(ANN, BOB, first, second)
    assert four.plan([], first.addresses) == UserChange((first,))
    both = first.addresses + second.addresses
    assert four.plan([], both) == UserChange((first, second), (), (PORTS,))
    three = four.after(four.plan([], first.addresses))
    assert three.plan([], second.addresses) == UserChange((second,), (), (PORTS,))
    moved = rules("100.64.9.5")
    assert three.plan([moved], []) == UserChange((second,), (moved,), (PORTS,))
    # Who leaves as another comes hands the grant over.
    assert three.plan([first], second.addresses) == UserChange((second,), (first,))
    back = three.after(three.plan([moved], []))
    assert back.plan([second], []) == UserChange((moved,), (second,), (), (PORTS,))


def test_other_addresses_are_another_user() -> None:
    """Of one address less, and of the addresses of two."""
    alone, merged = rules("100.64.9.2"), rules("100.64.9.3", "fd09::2")
    assert BOTH.plan([alone], []) == UserChange((ANN,), (alone,))
    change = BOTH.plan([merged], [])
    assert (set(change.gone), change.new) == ({ANN, BOB}, (merged,))
    assert BOTH.after(change).plan([merged], []) == NOTHING


def test_chains_are_made_once_each() -> None:
    slow = rules("100.64.9.5", rate=8_000)
    commands = having(ANN, BOB, slow).commands("t")
    chains = [one["add"]["chain"]["name"] for one in commands if "chain" in one["add"]]
    assert chains == [grant_name(LAN), "user_100.64.9.5"]


def test_a_service_needs_no_chain() -> None:
    """Nor does a grant of nothing but services change anybody's but the user's own elements."""
    user = rules("100.64.9.4", "fd09::4", to=(SERVICE, *LAN))
    three = having(ANN, BOB, user)
    assert three.plan([], user.addresses) == UserChange((user,))
    [element] = [
        one["delete"]["element"] for one in UserChange((user,)).commands("t") if "services" in str(one)
    ]
    assert element["name"] == "tcp_services4"
    assert element["elem"] == [{"concat": ["100.64.9.4", "100.64.9.4", "10.0.0.1", 80]}]


def test_a_rate_is_for_services_too() -> None:
    user = rules("100.64.9.4", to=(SERVICE,), rate=8_000)
    assert "services" not in str(having(user).commands("t"))


def touched(before: UserRules, after: UserRules) -> list[tuple[str, str]]:
    """What becomes of which sets and maps, when a user gets other rules."""
    commands = having(before).plan([after], []).commands("nconnect_test")
    verbs = [
        (verb, what["element"]["name"]) for one in commands for verb, what in one.items() if "element" in what
    ]
    return sorted(verbs)


def test_what_a_users_rules_have_in_common_is_not_touched() -> None:
    services = [Target(ip_network("10.0.0.1/32"), "tcp", (port, port)) for port in (80, 81, 82)]
    lease = ("100.64.9.2", "fd09::2")
    first, second = (
        rules(*lease, to=(*LAN, *services[:2])),
        rules(*lease, to=(*LAN, services[0], services[2])),
    )
    assert touched(first, second) == [("add", "tcp_services4"), ("delete", "tcp_services4")]


def test_a_chain_that_is_made_anew_has_its_elements_anew() -> None:
    slow, slower = (rules("100.64.9.2", to=(SERVICE,), rate=rate) for rate in (16_000, 8_000))
    assert touched(slow, slower) == [("add", "users4"), ("delete", "users4")]
