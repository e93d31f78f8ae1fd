"""What no ledger takes, however rich the sender."""

from __future__ import annotations

import dataclasses

import pytest
from google.protobuf.message import Message

from nconnect.devnet import rules
from nconnect.devnet.rejected import Rejected
from nconnect.nkn import transactions
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.transactions import UNIT, Payload, sign

from .transacting import ALICE, BOB, account, transfer

KEY = ALICE.public_key


def subscribe(
    topic: str = "topic", *, duration: int = 100, identifier: str = "", meta: bytes = b"", bucket: int = 0
) -> Payload:
    message = pb.Subscribe(
        subscriber=KEY, identifier=identifier, topic=topic, duration=duration, meta=meta, bucket=bucket
    )
    return payload(pb.SUBSCRIBE_TYPE, message)


def payload(kind: pb.PayloadType, message: Message) -> Payload:
    return Payload(kind, message.SerializeToString())


def test_it_says_who_signed_what() -> None:
    sender, message = rules.verify(sign(ALICE, transfer(ALICE, BOB, 5), nonce=0))
    assert sender == account(ALICE)
    assert isinstance(message, pb.TransferAsset)
    assert message.amount == 5


@pytest.mark.parametrize(
    "payload",
    [
        transactions.register_name(KEY, "abcdef"),
        transactions.register_name(KEY, "0" + "aZ9-_+" * 10 + "x"),
        transactions.transfer_name("abcdef", KEY, BOB.public_key),
        transactions.delete_name(KEY, "abcdef"),
        subscribe("abc"),
        subscribe("0" + "aZ9-_.+" * 36, duration=400_000, identifier="i" * 64, meta=bytes(1024)),
        transactions.unsubscribe(KEY, "", "abc"),
        transactions.nano_pay(KEY, BOB.wallet_address, 1, 5, txn_expiration=7, expiration=7),
    ],
)
def test_the_limits_themselves_are_allowed(payload: Payload) -> None:
    assert rules.verify(sign(ALICE, payload, nonce=0, attributes=bytes(100)))[0] == account(ALICE)


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (transactions.register_name(KEY, "abcde"), "name abcde should match regex"),
        (transactions.register_name(KEY, "a" * 64), "should match regex"),
        (transactions.register_name(KEY, "with.dot"), "should match regex"),
        (transactions.register_name(KEY, "_under"), "should match regex"),
        (transactions.register_name(KEY, "newline\n"), "should match regex"),
        (transactions.register_name(KEY, "ümlaut"), "should match regex"),
        (transactions.register_name(KEY, "abcdef", 10 * UNIT - 1), "lower than MinNameRegistrationFee"),
        (transactions.register_name(KEY, "abcdef", 2**62), "greater than max supply"),
        (subscribe("ab"), "topic ab should match"),
        (subscribe("a" * 256), "should match"),
        (subscribe("two words"), "should match"),
        (subscribe("topic\n"), "should match"),
        (subscribe(duration=0), "duration should be greater than 0"),
        (subscribe(duration=400_001), "duration 400001 is greater than 400000"),
        (subscribe(identifier="ä" * 33), "identifier len 66 is greater than 64"),
        (subscribe(meta=bytes(1025)), "meta len 1025 is greater than 1024"),
        (subscribe(bucket=1), "bucket 1 is greater than 0"),
        (transactions.unsubscribe(KEY, "", "ab"), "should match"),
        (transfer(ALICE, BOB, 2**62), "greater than max supply"),
        (
            transactions.nano_pay(KEY, BOB.wallet_address, 1, 5, txn_expiration=8, expiration=7),
            "no later than nano pay expiration",
        ),
        (
            payload(
                pb.TRANSFER_ASSET_TYPE, pb.TransferAsset(sender=account(ALICE), recipient=b"x", amount=1)
            ),
            "length of programhash",
        ),
        (
            payload(pb.TRANSFER_ASSET_TYPE, pb.TransferAsset(sender=KEY, recipient=account(BOB), amount=1)),
            "length of programhash",
        ),
        (
            payload(
                pb.TRANSFER_ASSET_TYPE,
                pb.TransferAsset(sender=account(ALICE), recipient=account(BOB), amount=-1),
            ),
            "less than 0",
        ),
        (
            payload(pb.TRANSFER_NAME_TYPE, pb.TransferName(name="abcdef", registrant=KEY, recipient=b"x")),
            "recipient invalid",
        ),
        (
            payload(pb.DELETE_NAME_TYPE, pb.DeleteName(name="abcdef", registrant=account(ALICE))),
            "registrant invalid",
        ),
        (Payload(pb.COINBASE_TYPE, b""), "none that a wallet makes"),
        (Payload(pb.SUBSCRIBE_TYPE, b"\xff"), "cannot be read"),
    ],
)
def test_what_breaks_a_rule_is_rejected_with_nknds_words(payload: Payload, words: str) -> None:
    with pytest.raises(Rejected, match=rf"(?s)^\[VerifyTransaction\] .*{words}"):
        rules.verify(sign(ALICE, payload, nonce=0))


def test_of_fees_attributes_and_signatures() -> None:
    with pytest.raises(Rejected, match=r"fee amount .* greater than max supply"):
        rules.verify(sign(ALICE, transfer(ALICE, BOB, 5), nonce=0, fee=2**62))
    with pytest.raises(Rejected, match="attributes len 101 is greater than 100"):
        rules.verify(sign(ALICE, transfer(ALICE, BOB, 5), nonce=0, attributes=bytes(101)))
    with pytest.raises(Rejected, match="signature is not"):
        rules.verify(dataclasses.replace(sign(ALICE, transfer(ALICE, BOB, 5), nonce=0), nonce=1))
    with pytest.raises(Rejected, match="not its own"):
        rules.verify(sign(BOB, transfer(ALICE, BOB, 5), nonce=0))
