"""Nano pay: many small payments to one recipient, of which only the last goes on the block chain.

The payer signs a growing total and hands the transaction to the recipient, by a message say. The recipient
checks it (`NanoPayClaimer.claim`) and sends the latest now and then, before it expires. Source: nkn-sdk-go
``nanopay.go``.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from decimal import Decimal
from types import TracebackType
from typing import Self

from nconnect.errors import NconnectError, ProtocolError, UsageError
from nconnect.nkn import transactions
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.account import Account, Amount, units
from nconnect.nkn.chain import Chain
from nconnect.nkn.keys import wallet_address
from nconnect.nkn.transactions import Transaction
from nconnect.nkn.wallet import parse_wallet_address

logger = logging.getLogger(__name__)

# Blocks (20 s) before the end of a channel from which on the payer begins another, and the recipient takes
# nothing more (nkn-sdk-go senderExpirationDelta, receiverExpirationDelta).
PAYER_MARGIN = 5
RECIPIENT_MARGIN = 3
# Blocks before the end at which the recipient sends what it has: three may go by until it looks again, two
# until the transaction is in one.
FLUSH_MARGIN = 5
CHECK_INTERVAL = 60.0


class NanoPay:
    """The payer's side: payments from an account to a wallet address.

    A channel lasts ``duration`` blocks, and then another begins. What has not been claimed by then stays with
    the payer. ``fee`` is paid once a channel, by the payer.
    """

    def __init__(self, account: Account, recipient: str, *, duration: int, fee: Amount = 0) -> None:
        parse_wallet_address(recipient)
        if duration <= PAYER_MARGIN:
            raise UsageError(f"a nano pay channel lasts more than {PAYER_MARGIN} blocks, not {duration}")
        self.recipient = recipient
        self._account = account
        self._duration = duration
        self._fee = fee
        self._channel = 0
        self._amount = 0
        self._expiration = 0

    async def pay(self, amount: Amount) -> Transaction:
        """Pay so many NKN more; the transaction that the recipient is to `NanoPayClaimer.claim`."""
        more = units(amount)
        if more <= 0:
            raise UsageError("a payment is more than nothing")
        height = await self._account.chain.height()
        if self._expiration <= height + PAYER_MARGIN:
            self._channel = secrets.randbits(64)
            self._expiration = height + self._duration
            self._amount = 0
        payload = transactions.nano_pay(
            self._account.key.public_key,
            self.recipient,
            self._channel,
            self._amount + more,
            txn_expiration=self._expiration,
            expiration=self._expiration,
        )
        self._amount += more
        return self._account.sign(payload, 0, fee=self._fee)


class NanoPayClaimer:
    """The recipient's side: takes the transactions of one payer, and sends the latest to the block chain.

    As an async context manager it sends by itself: every ``interval`` seconds, before a channel ends, and at
    the end. ``min_flush`` (NKN) is what is worth a transaction.
    """

    def __init__(
        self,
        chain: Chain,
        recipient: str,
        *,
        min_flush: Amount = 0,
        interval: float = 3600.0,
    ) -> None:
        self._chain = chain
        self._recipient = parse_wallet_address(recipient)
        self._min_flush = units(min_flush)
        self._interval = interval
        self._latest: Transaction | None = None
        self._payment: pb.NanoPay | None = None
        self._past = 0
        self._flushed = 0
        self._last_flush = 0.0
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._last_flush = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run(), name="nano pay")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        # What is being sent is not sent twice.
        async with self._turn:
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()

    @property
    def amount(self) -> Decimal:
        """NKN that were paid so far, on the block chain or not yet."""
        return Decimal(transactions.format_amount(self._past + self._current))

    @property
    def _current(self) -> int:
        """Units paid in the present channel."""
        return self._payment.amount if self._payment else 0

    async def claim(self, transaction: Transaction) -> Decimal:
        """Take a payment, if it is good; what was paid in all.

        ProtocolError says what is wrong with it: then it counts for nothing, and what was paid before stays.
        """
        key = transaction.verify()
        payment = transaction.payload.message()
        if not isinstance(payment, pb.NanoPay):
            raise ProtocolError("the transaction is no nano pay")
        if payment.recipient != self._recipient:
            raise ProtocolError("the payment is for somebody else")
        height = await self._chain.height()
        if min(payment.txn_expiration, payment.nano_pay_expiration) <= height + RECIPIENT_MARGIN:
            raise ProtocolError("the payment expires too soon to be claimed")
        balance = units(await self._chain.balance(wallet_address(key)))
        async with self._turn:
            same = self._is_same_channel(payment)
            if same and payment.amount <= self._current:
                raise ProtocolError("the payment is no more than the one before")
            # What the chain has of this channel already is part of the total; what it has not of the one
            # before is still to be paid.
            claimed = self._flushed if same else self._flushed - self._current
            if balance + claimed < payment.amount + transaction.fee:
                raise ProtocolError("the payer does not have what the payment promises")
            if not same:
                await self._flush()
                self._past += self._current
                self._flushed = 0
            self._latest, self._payment = transaction, payment
        return self.amount

    async def flush(self) -> str | None:
        """Send the latest payment if it is worth it; the transaction's hash, None if nothing was sent."""
        async with self._turn:
            return await self._flush()

    async def _flush(self) -> str | None:
        if self._latest is None or self._current - self._flushed < self._min_flush:
            return None
        digest = await self._chain.send(self._latest)
        self._latest = None
        self._flushed = self._current
        self._last_flush = asyncio.get_running_loop().time()
        return digest

    def _is_same_channel(self, payment: pb.NanoPay) -> bool:
        return self._payment is not None and (payment.id, payment.sender) == (
            self._payment.id,
            self._payment.sender,
        )

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(min(CHECK_INTERVAL, self._interval))
            if self._latest is None or self._payment is None:
                continue
            try:
                end = self._payment.txn_expiration - FLUSH_MARGIN
                if clock() - self._last_flush >= self._interval or await self._chain.height() >= end:
                    await self.flush()
            except NconnectError as error:
                logger.warning("nano pay could not be claimed, trying again: %s", error)
