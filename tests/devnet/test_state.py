"""What each kind of transaction does, and that a rejected one does nothing."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from nconnect.devnet.names import NAME_DURATION
from nconnect.devnet.rejected import Rejected
from nconnect.devnet.state import State
from nconnect.nkn import transactions_pb2 as pb

from .transacting import ALICE, BOB, account

A, B = ALICE.public_key, BOB.public_key
HEIGHT = 7


@pytest.fixture
def state() -> State:
    return State({}, faucet=100)


def apply(state: State, message: Message, sender: bytes = account(ALICE), fee: int = 0) -> None:
    state.apply(sender, message, fee, HEIGHT)


def test_tokens_move_and_the_fee_is_gone(state: State) -> None:
    apply(state, pb.TransferAsset(sender=account(ALICE), recipient=account(BOB), amount=30), fee=2)
    assert state.accounts.balance(account(ALICE)) == 68
    assert state.accounts.balance(account(BOB)) == 130
    assert state.accounts.nonce(account(ALICE)) == 1


def test_to_oneself(state: State) -> None:
    apply(state, pb.TransferAsset(sender=account(ALICE), recipient=account(ALICE), amount=30))
    assert state.accounts.balance(account(ALICE)) == 100


def test_the_life_of_a_name(state: State) -> None:
    apply(state, pb.RegisterName(registrant=A, name="thename", registration_fee=10))
    assert state.names.get("thename") == (A, HEIGHT + NAME_DURATION)
    assert state.accounts.balance(account(ALICE)) == 90
    apply(state, pb.TransferName(name="thename", registrant=A, recipient=B))
    apply(state, pb.DeleteName(name="thename", registrant=B), account(BOB))
    assert state.names.get("thename").registrant == b""
    assert (state.accounts.nonce(account(ALICE)), state.accounts.nonce(account(BOB))) == (2, 1)


def test_the_life_of_a_subscription(state: State) -> None:
    apply(state, pb.Subscribe(subscriber=A, identifier="id", topic="news", duration=5, meta=b"\xffmeta"))
    assert state.topics.get("news", A, "id")[1:] == ("�meta", HEIGHT + 5)
    apply(state, pb.Unsubscribe(subscriber=A, identifier="id", topic="news"))
    assert state.topics.subscribers("news") == []
    apply(state, pb.Subscribe(subscriber=A, identifier="id", topic="news", duration=5))
    state.expire(HEIGHT + 5)
    assert state.topics.subscribers("news") == []


def test_nano_pay_moves_what_is_new_and_has_no_nonce(state: State) -> None:
    for amount in (10, 25):
        apply(
            state,
            pb.NanoPay(
                sender=account(ALICE),
                recipient=account(BOB),
                id=1,
                amount=amount,
                txn_expiration=9,
                nano_pay_expiration=9,
            ),
        )
    assert state.accounts.balance(account(BOB)) == 125
    assert state.accounts.nonce(account(ALICE)) == 0


@pytest.mark.parametrize(
    ("message", "fee"),
    [
        (pb.TransferAsset(sender=account(ALICE), recipient=account(BOB), amount=100), 1),
        (pb.RegisterName(registrant=A, name="thename", registration_fee=101), 0),
        (pb.Subscribe(subscriber=A, topic="news", duration=5), 101),
        (pb.DeleteName(registrant=A, name="thename"), 0),
        (pb.TransferName(registrant=A, name="thename", recipient=B), 0),
        (pb.Unsubscribe(subscriber=A, topic="news"), 0),
        (pb.NanoPay(sender=account(ALICE), recipient=account(BOB), id=1, amount=1, txn_expiration=1), 0),
    ],
)
def test_what_is_rejected_changes_nothing(state: State, message: Message, fee: int) -> None:
    with pytest.raises(Rejected):
        apply(state, message, fee=fee)
    assert state.accounts.balance(account(ALICE)) == state.accounts.balance(account(BOB)) == 100
    assert state.accounts.nonce(account(ALICE)) == 0
    assert state.names.get("thename").registrant == b""
    assert state.topics.subscribers("news") == []
