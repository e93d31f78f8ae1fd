from __future__ import annotations

import hashlib

import pytest

from nconnect.devnet import topics
from nconnect.devnet.rejected import Rejected
from nconnect.devnet.topics import NONE, Topics, subscriber_hash

ALICE, BOB = b"\x0a" * 32, b"\x0b" * 32


@pytest.fixture
def subscriptions() -> Topics:
    subscriptions = Topics()
    subscriptions.subscribe("News", ALICE, "phone", "meta", 10)
    subscriptions.subscribe("News", ALICE, "", "", 12)
    subscriptions.subscribe("News", BOB, "", "", 12)
    return subscriptions


def test_a_subscriber_is_a_client_address(subscriptions: Topics) -> None:
    found = subscriptions.subscribers("news")
    assert {entry.address for entry in found} == {f"phone.{ALICE.hex()}", ALICE.hex(), BOB.hex()}
    assert subscriptions.get("NEWS", ALICE, "phone") == (f"phone.{ALICE.hex()}", "meta", 10)
    assert subscriptions.get("news", BOB, "phone") is NONE
    assert subscriptions.subscribers("olds") == []


def test_subscribers_come_by_their_hash_and_a_prefix_picks_some(subscriptions: Topics) -> None:
    assert subscriber_hash(ALICE, "phone") == hashlib.sha256(ALICE + b"phone").digest()[:20]
    hashes = {
        f"phone.{ALICE.hex()}": subscriber_hash(ALICE, "phone"),
        ALICE.hex(): subscriber_hash(ALICE, ""),
        BOB.hex(): subscriber_hash(BOB, ""),
    }
    order = [entry.address for entry in subscriptions.subscribers("news")]
    assert order == sorted(hashes, key=hashes.__getitem__)
    for address, digest in hashes.items():
        assert [entry.address for entry in subscriptions.subscribers("news", digest[:2])] == [address]


def test_again_replaces_note_and_end(subscriptions: Topics) -> None:
    subscriptions.subscribe("news", ALICE, "phone", "new", 20)
    assert subscriptions.get("news", ALICE, "phone")[1:] == ("new", 20)
    assert len(subscriptions.subscribers("news")) == 3


def test_it_ends_with_its_block(subscriptions: Topics) -> None:
    subscriptions.expire(9)
    assert len(subscriptions.subscribers("news")) == 3
    subscriptions.expire(10)
    assert subscriptions.get("news", ALICE, "phone") is NONE
    assert len(subscriptions.subscribers("news")) == 2
    subscriptions.expire(12)
    assert subscriptions.subscribers("news") == []


def test_unsubscribing(subscriptions: Topics) -> None:
    with pytest.raises(Rejected, match="subscription to news doesn't exist"):
        subscriptions.check_unsubscribe("news", BOB, "phone")
    subscriptions.check_unsubscribe("news", ALICE, "phone")
    subscriptions.unsubscribe("NEWS", ALICE, "phone")
    assert subscriptions.get("news", ALICE, "phone") is NONE


def test_memory_is_bounded(subscriptions: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "MAX_SUBSCRIPTIONS", 3)
    with pytest.raises(Rejected, match="keeps 3 subscriptions"):
        subscriptions.check_subscribe("other", BOB, "")
    subscriptions.check_subscribe("news", ALICE, "phone")
    subscriptions.subscribe("news", ALICE, "phone", "", 30)
    subscriptions.expire(12)
    subscriptions.check_subscribe("other", BOB, "")
