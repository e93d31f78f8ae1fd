"""Keys that own something, and the transactions that they sign."""

from __future__ import annotations

from nconnect.devnet.ledger import Ledger
from nconnect.nkn import transactions
from nconnect.nkn.keys import KeyPair, program_hash
from nconnect.nkn.transactions import Payload

ALICE, BOB, CAROL = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


def account(key: KeyPair) -> bytes:
    """The program hash of a key."""
    return program_hash(key.public_key)


def signed(key: KeyPair, payload: Payload, nonce: int, *, fee: int = 0, attributes: bytes = b"") -> bytes:
    """An encoded transaction."""
    return transactions.sign(key, payload, nonce=nonce, fee=fee, attributes=attributes).encode()


def submit(ledger: Ledger, key: KeyPair, payload: Payload, *, fee: int = 0) -> bytes:
    """Sign with the nonce that is next, and hand it in."""
    return ledger.submit(signed(key, payload, ledger.pool.accounts.nonce(account(key)), fee=fee))


def transfer(key: KeyPair, to: KeyPair, amount: int) -> Payload:
    return transactions.transfer(key.public_key, to.wallet_address, amount)
