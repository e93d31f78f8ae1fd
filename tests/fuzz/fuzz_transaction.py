"""A transaction, as the devnet takes it from a wallet."""

from __future__ import annotations

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn.transactions import Transaction

from .vectors import vectors

ERRORS = (DecodeError, CryptoError)


def seeds() -> list[bytes]:
    return [
        bytes.fromhex(vector["transaction"]) for vector in vectors("nkn/wallet_vectors.json")["transactions"]
    ]


def run(data: bytes) -> None:
    transaction = Transaction.decode(data)
    assert Transaction.decode(transaction.encode()) == transaction
    assert len(transaction.hash) == 32
    transaction.verify()
