"""Nonces, the pool, and blocks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.devnet import ledger as ledger_module
from nconnect.devnet.chain import Chain
from nconnect.devnet.ledger import MAX_WAITING_PER_ACCOUNT, Ledger
from nconnect.devnet.rejected import Rejected
from nconnect.errors import DecodeError
from nconnect.nkn import transactions
from nconnect.nkn.transactions import Transaction

from .transacting import ALICE, BOB, CAROL, account, signed, submit, transfer


class Blocks:
    """A chain and its ledger, block by block."""

    def __init__(self, *, instant: bool) -> None:
        self.chain = Chain(0)
        self.ledger = Ledger(self.chain, {}, 1000, instant=instant)

    def next(self) -> None:
        self.chain.advance()
        self.ledger.make_block()


@pytest.fixture
def instant() -> Blocks:
    return Blocks(instant=True)


@pytest.fixture
def waiting() -> Blocks:
    return Blocks(instant=False)


def test_a_transaction_counts_at_once(instant: Blocks) -> None:
    data = signed(ALICE, transfer(ALICE, BOB, 5), 0)
    assert instant.ledger.submit(data) == Transaction.decode(data).hash
    assert instant.ledger.confirmed.accounts.balance(account(BOB)) == 1005


def test_or_with_the_next_block(waiting: Blocks) -> None:
    ledger = waiting.ledger
    submit(ledger, ALICE, transfer(ALICE, BOB, 5))
    assert ledger.confirmed.accounts.balance(account(BOB)) == 1000
    assert ledger.pool.accounts.balance(account(BOB)) == 1005
    assert ledger.confirmed.accounts.nonce(account(ALICE)) == 0
    assert ledger.pool.accounts.nonce(account(ALICE)) == 1
    waiting.next()
    assert ledger.confirmed.accounts.balance(account(BOB)) == 1005
    assert ledger.confirmed.accounts.nonce(account(ALICE)) == 1
    waiting.next()
    assert ledger.confirmed.accounts.balance(account(BOB)) == 1005


def test_tokens_can_be_spent_once_only_even_while_they_wait(waiting: Blocks) -> None:
    submit(waiting.ledger, ALICE, transfer(ALICE, BOB, 600))
    with pytest.raises(Rejected, match="not sufficient funds"):
        submit(waiting.ledger, ALICE, transfer(ALICE, CAROL, 600))
    submit(waiting.ledger, BOB, transfer(BOB, CAROL, 1500))
    waiting.next()
    assert waiting.ledger.confirmed.accounts.balance(account(CAROL)) == 2500


def test_each_transaction_has_its_turn_and_only_one(instant: Blocks) -> None:
    first = signed(ALICE, transfer(ALICE, BOB, 5), 0)
    with pytest.raises(Rejected, match="nonce is not continuous"):
        instant.ledger.submit(signed(ALICE, transfer(ALICE, BOB, 5), 1))
    instant.ledger.submit(first)
    with pytest.raises(Rejected, match="duplicate transaction"):
        instant.ledger.submit(first)
    with pytest.raises(Rejected, match="nonce is too low"):
        instant.ledger.submit(signed(ALICE, transfer(ALICE, BOB, 6), 0))
    instant.ledger.submit(signed(ALICE, transfer(ALICE, BOB, 5), 1))
    assert instant.ledger.confirmed.accounts.balance(account(BOB)) == 1010


def test_while_it_waits_it_is_not_taken_twice_nor_replaced(waiting: Blocks) -> None:
    first = signed(ALICE, transfer(ALICE, BOB, 5), 0)
    waiting.ledger.submit(first)
    with pytest.raises(Rejected, match="duplicate transaction"):
        waiting.ledger.submit(first)
    with pytest.raises(Rejected, match="nonce is not continuous"):
        waiting.ledger.submit(signed(ALICE, transfer(ALICE, BOB, 6), 0))


def test_nano_pay_has_no_turn_and_is_not_paid_twice(instant: Blocks) -> None:
    def pay(amount: int) -> bytes:
        payload = transactions.nano_pay(
            ALICE.public_key, BOB.wallet_address, 1, amount, txn_expiration=9, expiration=9
        )
        return signed(ALICE, payload, 0)

    instant.ledger.submit(pay(10))
    instant.ledger.submit(pay(30))
    with pytest.raises(Rejected, match="duplicate transaction"):
        instant.ledger.submit(pay(30))
    with pytest.raises(Rejected, match="invalid amount"):
        instant.ledger.submit(pay(29))
    assert instant.ledger.confirmed.accounts.balance(account(BOB)) == 1030


@pytest.mark.parametrize("blocks", [Blocks(instant=True), Blocks(instant=False)], ids=["instant", "waiting"])
def test_a_subscription_lasts_its_blocks(blocks: Blocks) -> None:
    submit(blocks.ledger, ALICE, transactions.subscribe(ALICE.public_key, "", "news", 3))
    blocks.next()
    left = blocks.ledger.confirmed.topics.subscribers("news")[0].expires_at - blocks.chain.height
    for _ in range(left):
        assert blocks.ledger.confirmed.topics.subscribers("news")
        blocks.next()
    assert blocks.ledger.confirmed.topics.subscribers("news") == []
    assert blocks.ledger.pool.topics.subscribers("news") == []


def test_what_is_no_transaction(instant: Blocks) -> None:
    for data in (b"", b"\xff", bytes(100)):
        with pytest.raises(DecodeError):
            instant.ledger.submit(data)


def test_what_waits_is_bounded(waiting: Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(MAX_WAITING_PER_ACCOUNT):
        submit(waiting.ledger, ALICE, transfer(ALICE, BOB, 1))
    with pytest.raises(Rejected, match="account txpool full"):
        submit(waiting.ledger, ALICE, transfer(ALICE, BOB, 1))
    monkeypatch.setattr(ledger_module, "MAX_WAITING", MAX_WAITING_PER_ACCOUNT + 1)
    submit(waiting.ledger, BOB, transfer(BOB, ALICE, 1))
    with pytest.raises(Rejected, match="txpool full"):
        submit(waiting.ledger, BOB, transfer(BOB, ALICE, 1))
    waiting.next()
    submit(waiting.ledger, ALICE, transfer(ALICE, BOB, 1))


def test_what_is_known_is_bounded_and_nothing_counts_twice(
    instant: Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "MAX_KNOWN", 1)
    first, second = (signed(ALICE, transfer(ALICE, BOB, 5), nonce) for nonce in (0, 1))
    instant.ledger.submit(first)
    instant.ledger.submit(second)
    with pytest.raises(Rejected, match="nonce is too low"):
        instant.ledger.submit(first)
    with pytest.raises(Rejected, match="duplicate transaction"):
        instant.ledger.submit(second)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_random_bytes_are_refused_and_change_nothing(data: bytes, at: int) -> None:
    ledger = Blocks(instant=True).ledger
    whole = signed(ALICE, transfer(ALICE, BOB, 5), 1)
    for candidate in (data, whole[:at] + data + whole[at + len(data) :]):
        with pytest.raises((DecodeError, Rejected)):
            ledger.submit(candidate)
    assert ledger.confirmed.accounts.balance(account(BOB)) == 1000


def test_both_ways_end_in_the_same_state() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    both = Blocks(instant=True), Blocks(instant=False)
    keys = (ALICE, BOB, CAROL)
    for _ in range(150):
        key, other = dice.choice(keys), dice.choice(keys)
        identifier = dice.choice(("", "a"))
        payload = dice.choice(
            (
                transfer(key, other, dice.randrange(400)),
                transactions.subscribe(key.public_key, identifier, "news", 1000),
                transactions.unsubscribe(key.public_key, identifier, "news"),
            )
        )
        outcomes = []
        for blocks in both:
            try:
                submit(blocks.ledger, key, payload)
                outcomes.append("taken")
            except Rejected as rejected:
                outcomes.append(str(rejected))
        assert outcomes[0] == outcomes[1]
        if dice.random() < 0.2:
            both[1].next()
            assert_no_difference(both[1])
    both[1].next()
    for key in keys:
        accounts = [blocks.ledger.confirmed.accounts for blocks in both]
        assert accounts[0].balance(account(key)) == accounts[1].balance(account(key))
        assert accounts[0].nonce(account(key)) == accounts[1].nonce(account(key))


def assert_no_difference(blocks: Blocks) -> None:
    """With nothing waiting the pool is what the blocks add up to."""
    confirmed, pool = blocks.ledger.confirmed, blocks.ledger.pool
    assert confirmed.topics.subscribers("news") == pool.topics.subscribers("news")
    for key in (ALICE, BOB, CAROL):
        assert confirmed.accounts.balance(account(key)) == pool.accounts.balance(account(key))
