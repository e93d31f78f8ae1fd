"""Wallets at work on a devnet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import AddressError, NetworkError, RPCError, UsageError
from nconnect.nkn import transactions
from nconnect.nkn.account import Account, Amount, units
from nconnect.nkn.chain import Chain
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.rpc import RPCClient
from nconnect.nkn.transactions import UNIT

from .conftest import MakeDevnet


@pytest.fixture
async def chain(devnet: Devnet) -> AsyncIterator[Chain]:
    rpc = RPCClient([devnet.rpc_url])
    yield Chain(rpc)


@pytest.fixture
def alice(chain: Chain) -> Account:
    return Account(KeyPair.generate(), chain)


@pytest.fixture
def bob(chain: Chain) -> Account:
    return Account(KeyPair.generate(), chain)


async def test_transfer(alice: Account, bob: Account) -> None:
    digest = await alice.transfer(bob.address, "0.00000001")
    assert len(bytes.fromhex(digest)) == 32
    await alice.transfer(bob.address, Decimal("1.5"), fee="0.5")
    await alice.transfer(bob.address, 2, attributes=b"rent")
    assert await bob.balance() == Decimal("1003.50000001")
    assert await alice.balance() == Decimal("995.99999999")
    assert (await alice.nonce(), await bob.nonce()) == (3, 0)


async def test_the_life_of_a_name(chain: Chain, alice: Account, bob: Account) -> None:
    await alice.register_name("the-name")
    assert await alice.balance() == 990
    with pytest.raises(RPCError, match=f"already registered for pubKey {alice.key.public_key.hex()}"):
        await bob.register_name("the-name")
    await alice.transfer_name("the-name", bob.key.public_key)
    found = await chain.registrant("the-name")
    assert found is not None
    assert found.public_key == bob.key.public_key
    await bob.transfer_name("the-name", alice.key.public_key.hex())
    await alice.delete_name("the-name")
    assert await chain.registrant("the-name") is None


async def test_subscribe_and_unsubscribe(chain: Chain, alice: Account) -> None:
    await alice.subscribe("news", 10, "phone", "note")
    address = f"phone.{alice.key.public_key.hex()}"
    assert await chain.subscribers("news", meta=True) == await chain.subscribers("NEWS", meta=True)
    assert (await chain.subscribers("news", meta=True)).confirmed == {address: "note"}
    await alice.unsubscribe("news", "phone")
    assert (await chain.subscribers("news")).confirmed == {}


async def test_a_subscription_ends_by_itself(devnet: Devnet, chain: Chain, alice: Account) -> None:
    await alice.subscribe("news", 2)
    devnet.make_block()
    assert await chain.subscribers_count("news") == 1
    devnet.make_block()
    assert await chain.subscribers_count("news") == 0


async def test_many_at_once_are_sent_in_turn(alice: Account, bob: Account) -> None:
    digests = await asyncio.gather(*(alice.transfer(bob.address, 1) for _ in range(10)))
    assert len(set(digests)) == 10
    assert await bob.balance() == 1010


async def test_a_transaction_that_fails_does_not_hold_up_the_next(alice: Account, bob: Account) -> None:
    outcomes = await asyncio.gather(
        alice.transfer(bob.address, 100_000),
        alice.transfer(bob.address, 1),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], RPCError)
    assert outcomes[0].code == -45021
    assert "not sufficient funds" in str(outcomes[0])
    assert await bob.balance() == 1001


async def test_signed_now_and_sent_later_by_another(chain: Chain, alice: Account, bob: Account) -> None:
    payload = transactions.transfer(alice.key.public_key, bob.address, 5 * UNIT)
    signed = alice.sign(payload, await alice.nonce(), fee=1)
    assert await alice.balance() == 1000
    assert await bob.chain.send(signed) == signed.hash.hex()
    assert await alice.balance() == 994
    assert await bob.balance() == 1005
    # Whoever is not sure sends it again: it counts once.
    assert await chain.send(signed) == signed.hash.hex()
    assert await bob.balance() == 1005


async def test_several_seeds_get_it_and_it_counts_once(make_devnet: MakeDevnet) -> None:
    devnet = await make_devnet()
    # One devnet under two names: whichever answers, the other refuses what is known already.
    seeds = [devnet.rpc_url, devnet.rpc_url.replace("127.0.0.1", "localhost")]
    rpc = RPCClient(seeds, concurrency=2)
    alice, bob = (Account(KeyPair.generate(), Chain(rpc)) for _ in range(2))
    for _ in range(5):
        await alice.transfer(bob.address, 1)
    assert await bob.balance() == 1005


async def test_a_nonce_of_ones_own(alice: Account, bob: Account) -> None:
    with pytest.raises(RPCError, match="nonce is not continuous"):
        await alice.transfer(bob.address, 1, nonce=1)
    await alice.transfer(bob.address, 1, nonce=0)
    await alice.transfer(bob.address, 1, nonce=1)


async def test_several_wait_for_one_block(make_devnet: MakeDevnet) -> None:
    devnet = await make_devnet(instant=False, faucet="0.5", balances={})
    rpc = RPCClient([devnet.rpc_url])
    alice, bob = (Account(KeyPair.generate(), Chain(rpc)) for _ in range(2))
    for _ in range(3):
        await alice.transfer(bob.address, "0.1")
    assert (await alice.nonce(), await alice.nonce(pool=False)) == (3, 0)
    assert await bob.balance() == Decimal("0.5")
    devnet.make_block()
    assert await bob.balance() == Decimal("0.8")


async def test_nodes_that_are_gone(devnet: Devnet, alice: Account, bob: Account) -> None:
    await devnet.close()
    with pytest.raises(NetworkError, match="no seed answered getnoncebyaddr"):
        await alice.transfer(bob.address, 1)


async def test_wrong_recipients(alice: Account) -> None:
    with pytest.raises(AddressError, match="not a wallet address"):
        await alice.transfer(alice.key.public_key.hex(), 1)
    for recipient in ("x", b"x"):
        with pytest.raises(AddressError):
            await alice.transfer_name("the-name", recipient)
    assert await alice.nonce() == 0


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0.1", 10_000_000),
        (Decimal("0.1"), 10_000_000),
        (Decimal("1E+3"), 1000 * UNIT),
        (Decimal("1.50"), 150_000_000),
        (3, 3 * UNIT),
        (90_000_000_000, 90_000_000_000 * UNIT),
        (0, 0),
    ],
)
def test_amounts(amount: Amount, expected: int) -> None:
    assert units(amount) == expected


@pytest.mark.parametrize("amount", [0.1, True, None, "x", "-1", -1, Decimal("NaN"), Decimal("1E-9"), 10**40])
def test_what_is_no_amount(amount: Amount) -> None:
    with pytest.raises(UsageError, match="amount"):
        units(amount)
