"""Payments in small steps over a devnet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.errors import AddressError, CryptoError, NetworkError, ProtocolError, UsageError
from nconnect.nkn import nanopay, transactions
from nconnect.nkn.account import Account
from nconnect.nkn.chain import Chain
from nconnect.nkn.keys import KeyPair, program_hash
from nconnect.nkn.nanopay import NanoPay, NanoPayClaimer
from nconnect.nkn.rpc import RPCClient
from nconnect.nkn.transactions import UNIT

from .waiting import until

PAYER, SHOP, OTHER = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


@pytest.fixture
async def devnet() -> AsyncIterator[Devnet]:
    balances = {PAYER.wallet_address: "10", SHOP.wallet_address: "0"}
    async with Devnet(DevnetConfig(listen="127.0.0.1:0", balances=balances)) as devnet:
        yield devnet


@pytest.fixture
async def chain(devnet: Devnet) -> AsyncIterator[Chain]:
    rpc = RPCClient([devnet.rpc_url])
    yield Chain(rpc)


@pytest.fixture
def payer(chain: Chain) -> NanoPay:
    return NanoPay(Account(PAYER, chain), SHOP.wallet_address, duration=100)


@pytest.fixture
def claimer(chain: Chain) -> NanoPayClaimer:
    return NanoPayClaimer(chain, SHOP.wallet_address)


async def test_many_payments_are_one_transaction(
    chain: Chain, payer: NanoPay, claimer: NanoPayClaimer
) -> None:
    for step in range(1, 5):
        assert await claimer.claim(await payer.pay("0.1")) == Decimal(step) / 10
    assert await chain.balance(SHOP.wallet_address) == 0
    assert await claimer.flush() is not None
    assert await chain.balance(SHOP.wallet_address) == Decimal("0.4")
    assert await claimer.flush() is None
    # It goes on from there.
    assert await claimer.claim(await payer.pay(1)) == claimer.amount == Decimal("1.4")
    await claimer.flush()
    assert await chain.balance(SHOP.wallet_address) == Decimal("1.4")
    assert await chain.balance(PAYER.wallet_address) == Decimal("8.6")
    # Nano pay does not count as the payer's transactions do.
    assert await chain.nonce(PAYER.wallet_address) == 0


async def test_another_channel_before_the_old_one_ends(
    devnet: Devnet, chain: Chain, payer: NanoPay, claimer: NanoPayClaimer
) -> None:
    await claimer.claim(await payer.pay(2))
    for _ in range(96):
        devnet.make_block()
    assert await claimer.claim(await payer.pay(3)) == 5
    # Taking the new one sent the old one.
    assert await chain.balance(SHOP.wallet_address) == 2
    await claimer.flush()
    assert await chain.balance(SHOP.wallet_address) == 5


async def test_what_is_not_worth_a_transaction(chain: Chain, payer: NanoPay) -> None:
    claimer = NanoPayClaimer(chain, SHOP.wallet_address, min_flush="0.5")
    await claimer.claim(await payer.pay("0.4"))
    assert await claimer.flush() is None
    await claimer.claim(await payer.pay("0.1"))
    assert await claimer.flush() is not None


async def test_it_sends_by_itself_and_at_the_end(
    chain: Chain, payer: NanoPay, devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nanopay, "CHECK_INTERVAL", 0.01)
    shop = devnet.ledger.confirmed.accounts
    async with NanoPayClaimer(chain, SHOP.wallet_address) as claimer:
        await claimer.claim(await payer.pay(1))
        for _ in range(95):
            devnet.make_block()
        # Not since the interval is over, but since the channel ends soon.
        await until(lambda: shop.balance(account(SHOP)) == UNIT)
    async with NanoPayClaimer(chain, SHOP.wallet_address, interval=0.01) as claimer:
        await claimer.claim(await payer.pay(2))
        await until(lambda: shop.balance(account(SHOP)) == 3 * UNIT)
    async with NanoPayClaimer(chain, SHOP.wallet_address) as claimer:
        await claimer.claim(await payer.pay(2))
    assert shop.balance(account(SHOP)) == 5 * UNIT


async def test_a_network_that_is_gone_for_a_while(
    chain: Chain, payer: NanoPay, devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 0
    plain = chain.send

    async def send(transaction: transactions.Transaction) -> str:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise NetworkError("gone")
        return await plain(transaction)

    monkeypatch.setattr(chain, "send", send)
    async with NanoPayClaimer(chain, SHOP.wallet_address, interval=0.01) as claimer:
        await claimer.claim(await payer.pay(1))
        await until(lambda: devnet.ledger.confirmed.accounts.balance(account(SHOP)) == UNIT)
    assert failures == 3


async def test_payments_that_are_no_good(chain: Chain, payer: NanoPay, claimer: NanoPayClaimer) -> None:
    first = await payer.pay(1)
    second = await payer.pay(1)
    await claimer.claim(second)
    elsewhere = NanoPay(Account(PAYER, chain), OTHER.wallet_address, duration=100)
    transfer = transactions.transfer(PAYER.public_key, SHOP.wallet_address, UNIT)
    now = await chain.height()
    too_soon = transactions.nano_pay(
        PAYER.public_key, SHOP.wallet_address, 5, UNIT, txn_expiration=now + 3, expiration=now + 90
    )
    forged = transactions.sign(OTHER, second.payload, nonce=0)
    for bad, words in (
        (first, "no more than the one before"),
        (second, "no more than the one before"),
        (await payer.pay(9), "does not have what the payment promises"),
        (await elsewhere.pay(1), "for somebody else"),
        (Account(PAYER, chain).sign(transfer, 0), "no nano pay"),
        (Account(PAYER, chain).sign(too_soon, 0), "expires too soon"),
    ):
        with pytest.raises(ProtocolError, match=words):
            await claimer.claim(bad)
    with pytest.raises(CryptoError):
        await claimer.claim(forged)
    assert claimer.amount == 2


async def test_tokens_cannot_be_promised_twice(chain: Chain, claimer: NanoPayClaimer) -> None:
    account = Account(PAYER, chain)
    one, two = (NanoPay(account, SHOP.wallet_address, duration=100) for _ in range(2))
    await claimer.claim(await one.pay(6))
    with pytest.raises(ProtocolError, match="does not have"):
        await claimer.claim(await two.pay(6))
    await claimer.flush()
    assert await chain.balance(SHOP.wallet_address) == 6


async def test_many_claims_at_once(payer: NanoPay, claimer: NanoPayClaimer) -> None:
    payments = [await payer.pay("0.1") for _ in range(5)]
    outcomes = await asyncio.gather(*map(claimer.claim, payments), return_exceptions=True)
    assert claimer.amount == Decimal("0.5")
    assert all(isinstance(outcome, Decimal | ProtocolError) for outcome in outcomes)


async def test_misuse(chain: Chain, payer: NanoPay) -> None:
    with pytest.raises(AddressError):
        NanoPay(Account(PAYER, chain), "x", duration=100)
    with pytest.raises(AddressError):
        NanoPayClaimer(chain, "x")
    with pytest.raises(UsageError, match="more than 5 blocks"):
        NanoPay(Account(PAYER, chain), SHOP.wallet_address, duration=5)
    with pytest.raises(UsageError, match="more than nothing"):
        await payer.pay(0)


def account(key: KeyPair) -> bytes:
    """The devnet's name for a wallet."""
    return program_hash(key.public_key)
