"""Messages between clients of all SDKs, over a devnet that verifies what they sign."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from nconnect.devnet import Devnet

from ..nkn.waiting import until
from .conftest import Join, home, key
from .peers import OFFICIAL, TIMEOUT, WITH_OURS, Kind, Peer, PeerError, Received, one_of, pairs

pytestmark = pytest.mark.interop

TEXT = "Grüße, 世界 — ☃ 𝄞\n\x00end"
BINARY = bytes(range(256)) * 40
CONTENTS: tuple[str | bytes, ...] = (TEXT, BINARY, "", b"", "x" * 1_000_000, bytes(1_000_000))


def no_forgeries(devnet: Devnet) -> None:
    assert (devnet.stats.forged, devnet.stats.malformed) == (0, 0)


async def two(join: Join, sender: Kind, receiver: Kind) -> tuple[Peer, Peer]:
    alice, bob = await asyncio.gather(join(sender, "alice"), join(receiver, "bob"))
    return alice, bob


def as_handed_over(content: str | bytes, by: Kind) -> str | bytes:
    """The JavaScript SDK gives its application an empty string for b"", as a message and as a reply."""
    return "" if by is Kind.JS and not content else content


@pytest.mark.parametrize(("sender", "receiver"), pairs())
async def test_messages_are_acknowledged(devnet: Devnet, join: Join, sender: Kind, receiver: Kind) -> None:
    alice, bob = await two(join, sender, receiver)
    for content in CONTENTS:
        assert await alice.send(bob.address, content) is None
        expected = Received(alice.address, as_handed_over(content, receiver), encrypted=True, no_reply=False)
        assert await bob.received() == expected
    no_forgeries(devnet)
    assert devnet.stats.receipts > 0


@pytest.mark.parametrize(("sender", "receiver"), pairs())
async def test_messages_are_replied_to(devnet: Devnet, join: Join, sender: Kind, receiver: Kind) -> None:
    alice, bob = await two(join, sender, receiver)
    for content in CONTENTS:
        await bob.answer("reply", content)
        assert await alice.send(bob.address, "a question") == as_handed_over(content, sender)
    no_forgeries(devnet)


@pytest.mark.parametrize(("sender", "receiver"), WITH_OURS)
async def test_no_reply_is_wanted(join: Join, sender: Kind, receiver: Kind) -> None:
    alice, bob = await two(join, sender, receiver)
    await bob.answer("reply", "too much")
    assert await alice.send(bob.address, TEXT, no_reply=True) is None
    # The JavaScript SDK does not put it on the wire; it only does not wait.
    told = sender is not Kind.JS
    assert await bob.received() == Received(alice.address, TEXT, encrypted=True, no_reply=told)


@pytest.mark.parametrize(("sender", "receiver"), WITH_OURS)
async def test_nobody_answers(join: Join, sender: Kind, receiver: Kind) -> None:
    alice, bob = await two(join, sender, receiver)
    await bob.answer("silent")
    with pytest.raises(PeerError):
        await alice.send(bob.address, TEXT, timeout=0.5)
    assert (await bob.received()).content == TEXT


@pytest.mark.parametrize(("sender", "receiver"), pairs())
async def test_several_destinations(devnet: Devnet, join: Join, sender: Kind, receiver: Kind) -> None:
    alice, bob = await two(join, sender, receiver)
    carol = await join(sender, "carol")
    for content in (TEXT, BINARY):
        await alice.send([bob.address, carol.address], content)
        for peer in (bob, carol):
            assert await peer.received() == Received(alice.address, content, encrypted=True, no_reply=False)
    no_forgeries(devnet)


@pytest.mark.parametrize(("sender", "receiver"), WITH_OURS)
async def test_nodes_hold_messages(devnet: Devnet, join: Join, sender: Kind, receiver: Kind) -> None:
    alice = await join(sender, "alice")
    address = f"bob.{key('bob').public_key.hex()}"
    await alice.send(address, TEXT, no_reply=True, holding_seconds=60)
    await until(lambda: devnet.held == 4)
    bob = await join(receiver, "bob")
    assert bob.address == address
    assert (await bob.received()).content == TEXT


@pytest.mark.parametrize("sender", one_of(*OFFICIAL))
async def test_unencrypted_messages_need_our_consent(join: Join, sender: Kind) -> None:
    alice, strict = await two(join, sender, Kind.OURS)
    trusting = await join(Kind.OURS, "carol", accept_unencrypted=True)
    for receiver in (strict, trusting):
        await alice.send(receiver.address, "in clear", unencrypted=True, no_reply=True)
        await alice.send(receiver.address, "sealed", no_reply=True)
    assert (await strict.received()).content == "sealed"
    first = await trusting.received()
    assert (first.content, first.encrypted) == ("in clear", False)


@pytest.mark.parametrize("receiver", one_of(*OFFICIAL))
async def test_a_client_follows_when_nodes_die_and_come_back(
    devnet: Devnet, join: Join, receiver: Kind
) -> None:
    alice, bob = await asyncio.gather(join(Kind.OURS, "alice"), join(receiver, "bob", sub_clients=1))
    first = home(devnet, bob.address, 0)
    assert first is not None
    await devnet.stop_node(first)
    await send_until_acknowledged(alice, bob)
    assert home(devnet, bob.address, 0) != first
    await devnet.start_node(first)
    async with asyncio.timeout(TIMEOUT):
        while home(devnet, bob.address, 0) != first:
            await send_until_acknowledged(alice, bob)
    await send_until_acknowledged(alice, bob)


async def send_until_acknowledged(sender: Peer, receiver: Peer) -> None:
    """Messages are lost while the receiver is between two nodes."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            with contextlib.suppress(PeerError):
                await sender.send(receiver.address, "are you there?", timeout=0.3)
                return
