"""Tokens, names and topics: what one SDK does on the devnet's chain, every other sees."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.devnet.names import NAME_DURATION
from nconnect.nkn.nanopay import NanoPay, NanoPayClaimer
from nconnect.nkn.transactions import UNIT, Transaction, parse_amount

from .chain import PeerChain, chain_of
from .conftest import DEVNET, Join, key
from .driver import OfficialPeer
from .ours import OurPeer
from .peers import OFFICIAL, Kind, Peer, PeerError, Received, one_of, pairs

pytestmark = pytest.mark.interop

ALICE, BOB = (key(name).wallet_address for name in ("alice", "bob"))
TOPIC = "the-news"


async def two(join: Join, one: Kind, other: Kind) -> tuple[Peer, Peer, PeerChain, PeerChain]:
    """Alice and Bob, and the chain as their SDKs see it."""
    alice, bob = await asyncio.gather(join(one, "alice"), join(other, "bob"))
    return alice, bob, chain_of(alice), chain_of(bob)


@pytest.mark.parametrize(("sender", "receiver"), pairs())
async def test_tokens_change_hands(join: Join, sender: Kind, receiver: Kind) -> None:
    _, _, alice, bob = await two(join, sender, receiver)
    assert await bob.balance(ALICE) == await bob.balance(BOB) == 1000 * UNIT
    digest = await alice.transfer(BOB, "1.00000001", "0.5")
    assert len(bytes.fromhex(digest)) == 32
    await alice.transfer(BOB, "2")
    assert await bob.balance(BOB) == await alice.balance(BOB) == 1003 * UNIT + 1
    assert await bob.balance(ALICE) == 996 * UNIT + UNIT // 2 - 1
    assert (await bob.nonce(ALICE), await alice.nonce(BOB)) == (2, 0)
    with pytest.raises(PeerError, match="not sufficient funds"):
        await alice.transfer(BOB, "1000000")


@pytest.mark.parametrize(("owner", "other"), pairs())
async def test_names_lead_to_their_owners(devnet: Devnet, join: Join, owner: Kind, other: Kind) -> None:
    alice, bob, alices, bobs = await two(join, owner, other)
    assert await bobs.registrant("the-name") == ("", 0)
    await alices.register_name("the-name")
    keys = [key(name).public_key.hex() for name in ("alice", "bob")]
    assert await bobs.registrant("the-name") == (keys[0], devnet.chain.height + NAME_DURATION)
    with pytest.raises(PeerError, match="already registered"):
        await bobs.register_name("the-name")

    assert await bob.send("alice.the-name", "by name") is None
    assert (await alice.received()).content == "by name"

    await alices.transfer_name("the-name", keys[1])
    assert (await alices.registrant("the-name"))[0] == keys[1]
    await bobs.delete_name("the-name")
    assert await alices.registrant("the-name") == ("", 0)


@pytest.mark.parametrize(("publisher", "subscriber"), pairs())
async def test_what_is_published_reaches_who_subscribed(
    devnet: Devnet, join: Join, publisher: Kind, subscriber: Kind
) -> None:
    alice, bob, alices, bobs = await two(join, publisher, subscriber)
    await bobs.subscribe(TOPIC, 100, "a note: ä")
    assert await alices.subscribers(TOPIC) == {bob.address: "a note: ä"}
    assert await alices.subscribers_count(TOPIC) == 1
    expected = ("a note: ä", devnet.chain.height + 100)
    assert await alices.subscription(TOPIC, bob.address) == expected
    for content in ("Grüße", bytes(range(256))):
        await alices.publish(TOPIC, content)
        message = await bob.received()
        assert (message.src, message.content, message.encrypted) == (alice.address, content, True)
    await bobs.unsubscribe(TOPIC)
    # nknd remembers the count for a while; we do not.
    assert await alices.subscribers_count(TOPIC) == 0
    assert await alices.subscribers(TOPIC) == {}


@pytest.mark.go
@pytest.mark.parametrize("publisher", one_of(*Kind))
async def test_one_message_for_many_subscribers(join: Join, publisher: Kind) -> None:
    kinds = [Kind.OURS, *OFFICIAL]
    alice, *readers = await asyncio.gather(
        join(publisher, "alice"), *(join(kind, f"reader{number}") for number, kind in enumerate(kinds))
    )
    for reader in readers:
        await chain_of(reader).subscribe(TOPIC, 100, "")
    await chain_of(alice).publish(TOPIC, "to all of you")
    for reader in readers:
        assert (await reader.received()).content == "to all of you"


@pytest.mark.parametrize("payer", one_of(*OFFICIAL))
async def test_we_claim_what_they_pay(join: Join, payer: Kind) -> None:
    alice, bob = await asyncio.gather(join(payer, "alice"), join(Kind.OURS, "bob"))
    assert isinstance(alice, OfficialPeer) and isinstance(bob, OurPeer)
    claimer = NanoPayClaimer(bob.client.chain, BOB)
    # The Go SDK takes what is added, the JavaScript SDK the sum.
    for amount in ("0.5", "1") if payer is Kind.JS else ("0.5", "0.5"):
        payment = await alice.call("nanoPay", wallet=BOB, amount=amount)
        await claimer.claim(Transaction.decode(bytes.fromhex(payment)))
    assert claimer.amount == 1
    await claimer.flush()
    assert await chain_of(bob).balance(BOB) == 1001 * UNIT


@pytest.mark.go
async def test_they_claim_what_we_pay(join: Join) -> None:
    # The JavaScript SDK claims nothing by itself.
    alice, bob = await asyncio.gather(join(Kind.OURS, "alice"), join(Kind.GO, "bob"))
    assert isinstance(alice, OurPeer) and isinstance(bob, OfficialPeer)
    payer = NanoPay(alice.client.account, BOB, duration=100)
    for total in ("0.5", "1"):
        payment = (await payer.pay("0.5")).encode().hex()
        paid = await bob.call("claimNanoPay", wallet=BOB, file=payment)
        assert parse_amount(paid) == parse_amount(total)
    assert await chain_of(alice).balance(BOB) == 1001 * UNIT


@pytest.mark.parametrize("devnet_config", [DevnetConfig(listen=DEVNET.listen, instant=False)])
@pytest.mark.parametrize("kind", one_of(*OFFICIAL))
async def test_several_transactions_wait_for_one_block(devnet: Devnet, join: Join, kind: Kind) -> None:
    alice = chain_of(await join(kind, "alice"))
    for _ in range(3):
        await alice.transfer(BOB, "1")
    assert await alice.nonce(ALICE) == 3
    assert await alice.balance(BOB) == 1000 * UNIT
    devnet.make_block()
    assert await alice.balance(BOB) == 1003 * UNIT


@pytest.mark.parametrize(
    "devnet_config", [DevnetConfig(listen=DEVNET.listen, verify_signatures=True, tls=True)]
)
async def test_a_client_with_tls(devnet: Devnet, join: Join, tmp_path: Path) -> None:
    # The Go SDK has no TLS for nodes.
    authorities = tmp_path / "devnet.pem"
    authorities.write_text(devnet.certificate)
    alice, bob = await asyncio.gather(join(Kind.JS, "alice", tls=authorities), join(Kind.OURS, "bob"))
    assert await alice.send(bob.address, "through TLS") is None
    assert await bob.received() == Received(alice.address, "through TLS", encrypted=True, no_reply=False)
    connections = {client for node in devnet.nodes for client in node.connections}
    assert {client.has_tls for client in connections if client.address.endswith(alice.address)} == {True}
