"""Publishing to topics over a devnet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import RPCError, UsageError
from nconnect.nkn import pubsub
from nconnect.nkn.account import Account
from nconnect.nkn.chain import Subscribers
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import Message, MultiClient

from .conftest import MakeClient, MakeDevnet
from .waiting import soon

TOPIC = "the-news"


async def next_message(client: MultiClient) -> Message:
    return await soon(anext(client))


async def test_who_subscribed_gets_what_is_published(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    carol = await make_client(devnet, "")
    await bob.subscribe(TOPIC, 100)
    await carol.subscribe(TOPIC, 100, "note")
    assert await alice.subscribers(TOPIC) == {bob.address: "", carol.address: ""}
    assert await alice.subscribers(TOPIC, meta=True) == {bob.address: "", carol.address: "note"}
    assert await alice.publish(TOPIC, "extra!") == 2
    for reader in (bob, carol):
        message = await next_message(reader)
        assert (message.src, message.data, message.no_reply) == (alice.address, "extra!", True)
        assert message.encrypted
    await bob.unsubscribe(TOPIC)
    assert await alice.publish(TOPIC, b"more") == 1
    assert (await next_message(carol)).data == b"more"


async def test_nobody_there(alice: MultiClient) -> None:
    assert await alice.publish(TOPIC, "hello?") == 0
    with pytest.raises(RPCError, match="subscription to the-news doesn't exist"):
        await alice.unsubscribe(TOPIC)


async def test_who_waits_for_the_next_block(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(instant=False)
    alice, bob = await make_client(devnet, "alice"), await make_client(devnet, "bob")
    await bob.subscribe(TOPIC, 100)
    assert await alice.publish(TOPIC, "too early") == 0
    assert await alice.publish(TOPIC, "in time", pool=True) == 1
    assert (await next_message(bob)).data == "in time"
    devnet.make_block()
    assert await alice.publish(TOPIC, "at last", pool=True) == 1
    assert (await next_message(bob)).data == "at last"


async def subscribe_many(alice: MultiClient, count: int) -> set[str]:
    """Subscribe several clients of one key."""
    account = Account(KeyPair.generate(), alice.chain)
    for number in range(count):
        await account.subscribe(TOPIC, 100, f"n{number}", nonce=number)
    return {f"n{number}.{account.key.public_key.hex()}" for number in range(count)}


async def test_page_by_page(alice: MultiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "MAX_SUBSCRIBERS", 3)
    everybody = await subscribe_many(alice, 6)
    assert set(await alice.subscribers(TOPIC)) == everybody
    first = await alice.subscribers(TOPIC, limit=4)
    second = await alice.subscribers(TOPIC, offset=4, limit=4)
    assert (len(first), len(second)) == (4, 2)
    assert first.keys() | second.keys() == everybody
    assert await alice.subscribers(TOPIC, limit=0) == {}
    assert await alice.publish(TOPIC, "hi", offset=4, limit=1) == 1


async def test_many_are_sent_to_in_parts_and_get_it_once(
    devnet: Devnet,
    make_client: MakeClient,
    alice: MultiClient,
    bob: MultiClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pubsub, "CHUNK", 2)
    readers = [bob, *[await make_client(devnet, "", sub_clients=1) for _ in range(4)]]
    for reader in readers:
        await reader.subscribe(TOPIC, 100)
    for text in ("first", "second"):
        assert await alice.publish(TOPIC, text) == 5
        for reader in readers:
            assert (await next_message(reader)).data == text


async def test_more_than_can_be_at_once(alice: MultiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "MAX_ALL", 4)
    everybody = await subscribe_many(alice, 5)
    with pytest.raises(UsageError, match="more than 4 subscribers: take them part by part"):
        await alice.publish(TOPIC, "hi")
    assert await alice.publish(TOPIC, "hi", limit=5) == len(everybody)


async def test_a_seed_that_answers_for_ever(alice: MultiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def same(topic: str, *, limit: int, **options: object) -> Subscribers:
        nonlocal calls
        calls += 1
        return Subscribers({f"n{number}.{'ab' * 32}": "" for number in range(limit)}, {})

    monkeypatch.setattr(alice.chain, "subscribers", same)
    with pytest.raises(UsageError, match="more than 65536"):
        await soon(alice.subscribers(TOPIC))
    assert calls == 66


@pytest.mark.parametrize(
    "address",
    ["", "x", "mallory.", "mallory." + "ff" * 32, "00" * 32, "mallory." + "zz" * 32],
)
async def test_a_subscriber_who_cannot_be_reached_harms_nobody(
    alice: MultiClient, bob: MultiClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async def subscribers(topic: str, **options: object) -> Subscribers:
        return Subscribers({address: "", bob.address: ""}, {})

    monkeypatch.setattr(alice.chain, "subscribers", subscribers)
    assert await alice.publish(TOPIC, "still") == 1
    assert (await next_message(bob)).data == "still"


@pytest.mark.parametrize("send", ["publish", "subscribe"])
async def test_what_is_not_text(alice: MultiClient, send: str) -> None:
    attempt: dict[str, Callable[[], Awaitable[object]]] = {
        "publish": lambda: alice.publish(TOPIC, "\ud800"),
        "subscribe": lambda: alice.subscribe(TOPIC, 5, "\ud800"),
    }
    with pytest.raises(UsageError):
        await attempt[send]()
