"""Transactions, byte for byte as the official SDK makes them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import AddressError, CryptoError, DecodeError, ProtocolError, UsageError
from nconnect.nkn import transactions
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.keys import KeyPair, program_hash
from nconnect.nkn.transactions import Payload, Transaction, format_amount, parse_amount, sign

VECTORS = json.loads((Path(__file__).parent / "wallet_vectors.json").read_text(encoding="utf-8"))[
    "transactions"
]
KEY = KeyPair(b"\x01" * 32)
OTHER = KeyPair(b"\x02" * 32)
ALICE = KEY.public_key

# What the SDK was asked for when it computed the vectors.
PAYLOADS: dict[str, Callable[[], Payload]] = {
    "transfer": lambda: transactions.transfer(ALICE, OTHER.wallet_address, parse_amount("1.5")),
    "register_name": lambda: transactions.register_name(ALICE, "alice"),
    "subscribe": lambda: transactions.subscribe(ALICE, "id", "topic", 100, "meta"),
    "unsubscribe": lambda: transactions.unsubscribe(ALICE, "id", "topic"),
    "transfer_name": lambda: transactions.transfer_name("alice", ALICE, OTHER.public_key),
    "delete_name": lambda: transactions.delete_name(ALICE, "alice"),
}

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def test_every_vector_is_built() -> None:
    assert {vector["name"] for vector in VECTORS} == set(PAYLOADS)


@each_vector
def test_built_as_the_sdk_builds_it(vector: dict[str, Any]) -> None:
    key = KeyPair(bytes.fromhex(vector["seed"]))
    payload = PAYLOADS[vector["name"]]()
    transaction = sign(key, payload, nonce=vector["nonce"], fee=parse_amount(vector["fee"]))
    assert transaction.unsigned().hex() == vector["unsigned"]
    assert transaction.hash.hex() == vector["hash"]
    assert transaction.encode().hex() == vector["transaction"]


@each_vector
def test_decoded_and_verified(vector: dict[str, Any]) -> None:
    transaction = Transaction.decode(bytes.fromhex(vector["transaction"]))
    assert transaction.payload == PAYLOADS[vector["name"]]()
    assert (transaction.nonce, transaction.fee) == (vector["nonce"], parse_amount(vector["fee"]))
    assert transaction.verify() == ALICE
    assert transaction.encode().hex() == vector["transaction"]


def test_nano_pay() -> None:
    payload = transactions.nano_pay(ALICE, OTHER.wallet_address, 7, 5, txn_expiration=100, expiration=200)
    transaction = Transaction.decode(sign(KEY, payload, nonce=0).encode())
    assert transaction.verify() == ALICE
    message = transaction.payload.message()
    assert isinstance(message, pb.NanoPay)
    assert message.sender == program_hash(ALICE) and message.recipient == program_hash(OTHER.public_key)
    assert (message.id, message.amount, message.txn_expiration, message.nano_pay_expiration) == (
        7,
        5,
        100,
        200,
    )


def test_attributes_are_signed_too() -> None:
    payload = transactions.delete_name(ALICE, "alice")
    transaction = sign(KEY, payload, nonce=1, attributes=b"x" * 300)
    assert Transaction.decode(transaction.encode()).verify() == ALICE
    with pytest.raises(CryptoError):
        dataclasses.replace(transaction, attributes=b"y" * 300).verify()


TRANSFER = sign(KEY, transactions.transfer(ALICE, OTHER.wallet_address, 1), nonce=1, fee=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nonce": 2}, "signature is not"),
        ({"fee": 3}, "signature is not"),
        ({"payload": transactions.transfer(ALICE, KEY.wallet_address, 1)}, "signature is not"),
        ({"payload": transactions.transfer(OTHER.public_key, KEY.wallet_address, 1)}, "not its own"),
        ({"payload": transactions.delete_name(OTHER.public_key, "alice")}, "not its own"),
        ({"parameter": b"\x40" + bytes(64)}, "signature is not"),
        ({"parameter": b"\x40" + bytes(63)}, "no signature"),
        ({"parameter": b""}, "no signature"),
        ({"code": b""}, "checks no signature"),
        ({"code": b"\x20" + ALICE + b"\xad"}, "checks no signature"),
        ({"code": b"\x20" + ALICE[1:] + b"\xac"}, "checks no signature"),
        ({"code": b"\x20" + OTHER.public_key + b"\xac"}, "not its own"),
    ],
)
def test_what_is_altered_does_not_verify(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CryptoError, match=message):
        dataclasses.replace(TRANSFER, **changes).verify()


def test_kinds_that_no_wallet_makes() -> None:
    for kind in (pb.COINBASE_TYPE, pb.SIG_CHAIN_TXN_TYPE):
        with pytest.raises(DecodeError, match="none that a wallet makes"):
            dataclasses.replace(TRANSFER, payload=Payload(kind, b"")).verify()
    with pytest.raises(DecodeError, match="cannot be read"):
        dataclasses.replace(TRANSFER, payload=Payload(pb.SUBSCRIBE_TYPE, b"\xff")).verify()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "1 bytes that are no transaction"),
        (b"", "0 programs"),
        (bytes(transactions.MAX_TRANSACTION_SIZE + 1), "the most is"),
        (TRANSFER.encode() + TRANSFER.encode(), "2 programs"),
        (dataclasses.replace(TRANSFER, fee=-1).encode(), "fee -1"),
    ],
)
def test_what_is_no_transaction(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        Transaction.decode(data)


@given(st.binary(max_size=200), st.integers(0, 250))
def test_random_bytes_raise_protocol_errors_only(data: bytes, at: int) -> None:
    whole = TRANSFER.encode()
    for candidate in (data, whole[:at] + data + whole[at + len(data) :]):
        try:
            assert Transaction.decode(candidate).verify() == ALICE
        except ProtocolError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "units"),
    [("0", 0), ("1", 10**8), ("0.1", 10**7), ("12.00000001", 1200000001), ("700000000", 7 * 10**16)],
)
def test_amounts(text: str, units: int) -> None:
    assert parse_amount(text) == units
    assert format_amount(units) == text


@pytest.mark.parametrize("text", ["", "x", "-1", "1.", ".5", "1e3", "0.123456789", "9" * 5000, "nan", "1 "])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(UsageError, match="no amount of NKN"):
        parse_amount(text)


def test_misuse_is_refused() -> None:
    with pytest.raises(AddressError, match="checksum"):
        transactions.transfer(ALICE, OTHER.wallet_address[:-1] + "1", 5)
    with pytest.raises(AddressError, match="32 bytes, not 31"):
        transactions.delete_name(ALICE[:31], "alice")
    with pytest.raises(UsageError, match="amount"):
        transactions.transfer(ALICE, OTHER.wallet_address, -1)
    with pytest.raises(UsageError, match="amount"):
        parse_amount("999999999999")
    with pytest.raises(UsageError, match="blocks"):
        transactions.subscribe(ALICE, "id", "topic", 0)
    with pytest.raises(UsageError, match="nonce"):
        sign(KEY, transactions.delete_name(ALICE, "alice"), nonce=-1)
    with pytest.raises(UsageError, match="UTF-8"):
        transactions.register_name(ALICE, "\udce4lice")
