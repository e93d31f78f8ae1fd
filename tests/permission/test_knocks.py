"""Knocks are remembered, but not without bound, and told now and then."""

from __future__ import annotations

from nconnect.nkn.keys import KeyPair
from nconnect.permission.knocks import KNOCK_REPEAT_INTERVAL, KNOCKS_TOLD_A_MINUTE, MAX_KNOCKS, Knocks

KEY = KeyPair.from_seed(bytes(32)).public_key


def test_a_knock_is_news_once_in_a_while() -> None:
    knocks = Knocks()
    assert knocks.knock(KEY, "laptop", 100.0)
    assert not knocks.knock(KEY, "laptop", 101.0)
    assert knocks.knock(KEY, "renamed", 100.0 + KNOCK_REPEAT_INTERVAL)
    [knock] = knocks
    assert (knock.name, knock.count, knock.first) == ("renamed", 3, 100.0)
    assert knock.last == 100.0 + KNOCK_REPEAT_INTERVAL


def test_knocks_are_bounded_and_the_latest_stay() -> None:
    knocks = Knocks()
    for number in range(MAX_KNOCKS + 10):
        knocks.knock(number.to_bytes(32, "big"), "", float(number))
    assert len(knocks) == MAX_KNOCKS
    assert list(knocks)[-1].key == (MAX_KNOCKS + 9).to_bytes(32, "big")


def test_a_stranger_with_many_keys_does_not_fill_the_log() -> None:
    knocks = Knocks()
    told = [knocks.knock(number.to_bytes(32, "big"), "", number / 100) for number in range(6000)]
    assert sum(told) == KNOCKS_TOLD_A_MINUTE
    assert all(told[:KNOCKS_TOLD_A_MINUTE])
    assert knocks.knock(KEY, "", 61.0)


def test_who_was_let_in_knocks_no_more() -> None:
    knocks = Knocks()
    knocks.knock(KEY, "", 1.0)
    knocks.forget(KEY)
    assert not list(knocks)
    knocks.forget(KEY)
