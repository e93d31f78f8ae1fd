"""A key pair as the owner of tokens, names and subscriptions: transactions are signed here and sent by RPC.

Source: nkn-sdk-go ``wallet.go``, nkn-sdk-js ``common/rpc.js``.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TypedDict, Unpack

from nconnect.errors import UsageError
from nconnect.nkn import transactions
from nconnect.nkn.addresses import parse_public_key
from nconnect.nkn.chain import Chain
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.transactions import Payload, Transaction

Amount = Decimal | str | int
"""A number of NKN: ``"0.1"``, ``Decimal("0.1")``, ``2``. No float, which cannot be 0.1."""


class Options(TypedDict, total=False):
    """What any transaction can be given."""

    fee: Amount
    """NKN for whoever makes the block; none is needed."""
    nonce: int
    """The transaction's number. Without it the network is asked, and transactions are sent one by one."""
    attributes: bytes
    """Up to 100 bytes that mean nothing to the network."""


class Account:
    """What a key owns on the block chain, and what it can do there.

    Each method that changes something returns the hash of its transaction (hex) once a node has taken it.
    It counts with the next block, within some 20 s. RPCError says why a node refuses it.
    """

    def __init__(self, key: KeyPair, chain: Chain) -> None:
        self.key = key
        self.chain = chain
        # Two transactions that ask for their nonce at once would get the same one.
        self._turn = asyncio.Lock()

    @property
    def address(self) -> str:
        """The wallet address, ``NKN…``."""
        return self.key.wallet_address

    async def balance(self) -> Decimal:
        """NKN that it has."""
        return await self.chain.balance(self.address)

    async def nonce(self, *, pool: bool = True) -> int:
        """The nonce of its next transaction, after those that wait in the pool unless told not to."""
        return await self.chain.nonce(self.address, pool=pool)

    async def transfer(self, recipient: str, amount: Amount, **options: Unpack[Options]) -> str:
        """Send NKN to a wallet address."""
        payload = transactions.transfer(self.key.public_key, recipient, units(amount))
        return await self.send(payload, **options)

    async def register_name(self, name: str, **options: Unpack[Options]) -> str:
        """Register a name for this key for a year, or for another year; it costs 10 NKN.

        Names have 6 to 63 letters, digits and ``-_+``, the first a letter or digit; case does not count.
        """
        return await self.send(transactions.register_name(self.key.public_key, name), **options)

    async def transfer_name(self, name: str, recipient: bytes | str, **options: Unpack[Options]) -> str:
        """Give a name to another public key (bytes or hex); it ends when it would have."""
        key = parse_public_key(recipient) if isinstance(recipient, str) else recipient
        return await self.send(transactions.transfer_name(name, self.key.public_key, key), **options)

    async def delete_name(self, name: str, **options: Unpack[Options]) -> str:
        """Give a name up."""
        return await self.send(transactions.delete_name(self.key.public_key, name), **options)

    async def subscribe(
        self, topic: str, duration: int, identifier: str = "", meta: str = "", **options: Unpack[Options]
    ) -> str:
        """Subscribe the client of this key with this identifier to a topic, for ``duration`` blocks from now.

        At most 400,000 blocks (92 days); again before they are over to stay. ``meta`` is a note of up to
        1024 bytes that anybody can read. Topics have 3 to 255 letters, digits and ``-_.+``.
        """
        payload = transactions.subscribe(self.key.public_key, identifier, topic, duration, meta)
        return await self.send(payload, **options)

    async def unsubscribe(self, topic: str, identifier: str = "", **options: Unpack[Options]) -> str:
        """End a subscription."""
        return await self.send(transactions.unsubscribe(self.key.public_key, identifier, topic), **options)

    def sign(self, payload: Payload, nonce: int, *, fee: Amount = 0, attributes: bytes = b"") -> Transaction:
        """A transaction that `Chain.send` takes, now or later, from here or anywhere."""
        return transactions.sign(self.key, payload, nonce=nonce, fee=units(fee), attributes=attributes)

    async def send(self, payload: Payload, **options: Unpack[Options]) -> str:
        """Sign a payload that one of the functions in `nconnect.nkn.transactions` made, and send it."""
        fee, attributes = options.get("fee", 0), options.get("attributes", b"")
        nonce = options.get("nonce")
        if nonce is not None:
            return await self.chain.send(self.sign(payload, nonce, fee=fee, attributes=attributes))
        async with self._turn:
            nonce = await self.nonce()
            return await self.chain.send(self.sign(payload, nonce, fee=fee, attributes=attributes))


def units(amount: Amount) -> int:
    """Units of 10⁻⁸ NKN; UsageError for what is no amount."""
    if isinstance(amount, bool) or not isinstance(amount, Decimal | str | int):
        raise UsageError(f"an amount of NKN is text, a Decimal or a whole number, not {amount!r}")
    return transactions.parse_amount(f"{amount:f}" if isinstance(amount, Decimal) else str(amount))
