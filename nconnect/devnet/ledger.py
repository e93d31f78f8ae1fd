"""The ledger: takes signed transactions, and knows what they add up to.

A transaction either counts at once, as part of the latest block, or waits for the next one in a pool as on a
real network (``DevnetConfig.instant``). The pool is a second state: the ledger's plus all that waits.
Two things differ from nknd: a transaction that waits cannot be replaced by another with its nonce, and others
may build on it already (spend the tokens, transfer the name), which nknd takes only in a later block.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.message import Message

from nconnect.devnet import rules
from nconnect.devnet.chain import Chain
from nconnect.devnet.rejected import Rejected
from nconnect.devnet.state import State
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.transactions import Transaction

# nknd TxPoolPerAccountTxCap and MaxNumTxnPerBlock; a transaction has some KiB.
MAX_WAITING_PER_ACCOUNT = 32
MAX_WAITING = 4096
# Hashes by which a transaction is known that comes again, some 150 bytes each. What is older is refused as
# well: its nonce is too low by then.
MAX_KNOWN = 16_384


class _Waiting(NamedTuple):
    sender: bytes
    message: Message
    fee: int


class Ledger:
    """`submit` takes a transaction, `make_block` follows each block of the chain."""

    def __init__(self, chain: Chain, balances: Mapping[bytes, int], faucet: int, *, instant: bool) -> None:
        self._chain = chain
        self.confirmed = State(balances, faucet)
        """What the blocks add up to."""
        self.pool = self.confirmed if instant else State(balances, faucet)
        """The same and what waits for the next block; one and the same state if nothing ever waits."""
        self._waiting: list[_Waiting] = []
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def submit(self, data: bytes) -> bytes:
        """Take a transaction (protobuf); its hash, 32 bytes.

        DecodeError if it is none, Rejected if it is not signed by whom it concerns, comes out of turn, or
        asks for what cannot be.
        """
        transaction = Transaction.decode(data)
        sender, message = rules.verify(transaction)
        if transaction.hash in self._known:
            raise Rejected("duplicate transaction check failed")
        # Nano pay needs no order: its amount only grows.
        if not isinstance(message, pb.NanoPay):
            self._check_nonce(sender, transaction)
        instant = self.pool is self.confirmed
        if not instant and len(self._waiting) >= MAX_WAITING:
            raise Rejected("txpool full, rejecting transaction with low priority")
        height = self._chain.height if instant else self._chain.height + 1
        self.pool.apply(sender, message, transaction.fee, height)
        if not instant:
            self._waiting.append(_Waiting(sender, message, transaction.fee))
        self._known[transaction.hash] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return transaction.hash

    def make_block(self) -> None:
        """The chain has a new block: what waited is in it, and what ends with it ends."""
        height = self._chain.height
        for waiting in self._waiting:
            self.confirmed.apply(waiting.sender, waiting.message, waiting.fee, height)
        self._waiting.clear()
        self.confirmed.expire(height)
        if self.pool is not self.confirmed:
            self.pool.expire(height)

    def _check_nonce(self, sender: bytes, transaction: Transaction) -> None:
        confirmed, expected = self.confirmed.accounts.nonce(sender), self.pool.accounts.nonce(sender)
        if expected - confirmed >= MAX_WAITING_PER_ACCOUNT:
            raise Rejected("account txpool full, too many transaction in list")
        if transaction.nonce < confirmed:
            raise Rejected("nonce is too low")
        if transaction.nonce != expected:
            raise Rejected("nonce is not continuous")
