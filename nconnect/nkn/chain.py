"""What the block chain says, asked by JSON-RPC: balances, names, subscribers.

Source: nkn-sdk-go ``rpc.go``; nknd ``api/common/interfaces.go``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from nconnect.errors import DecodeError, RPCError, UsageError
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE, Address
from nconnect.nkn.messages import ErrorCode
from nconnect.nkn.rpc import RPCClient, expect
from nconnect.nkn.transactions import Transaction, format_amount, parse_amount
from nconnect.nkn.wallet import parse_wallet_address

# What nknd says of a transaction that waits or is in a block already.
ALREADY_TAKEN = "duplicate transaction"
# Subscribers in one answer; nodes answer as many as they are asked for.
MAX_SUBSCRIBERS = 1000


@dataclass(frozen=True, slots=True)
class Block:
    """The latest block: its height, and its hash (32 bytes)."""

    height: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Registrant:
    """Whose a name is: the owner's public key, and the height of the block with which the name ends."""

    public_key: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscriber's note, and the height of the block with which the subscription ends."""

    meta: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Subscribers:
    """Addresses that subscribed to a topic, each with its note (empty unless it was asked for)."""

    confirmed: dict[str, str]
    """Those in blocks."""
    waiting: dict[str, str]
    """Those whose transaction waits for the next block; empty unless they were asked for."""


class Chain:
    """Questions to the block chain. RPCError or NetworkError where no answer is to be had."""

    def __init__(self, rpc: RPCClient) -> None:
        self._rpc = rpc

    async def height(self) -> int:
        """The height of the latest block; a new one comes about every 20 s."""
        return expect(await self._rpc.call("getlatestblockheight", {}), int, "getlatestblockheight")

    async def latest_block(self) -> Block:
        """The latest block."""
        result = await self._ask("getlatestblockhash", {})
        height = expect(result.get("height"), int, "getlatestblockhash")
        return Block(height, _hex(result.get("hash"), "getlatestblockhash"))

    async def balance(self, wallet_address: str) -> Decimal:
        """The NKN of a wallet."""
        parse_wallet_address(wallet_address)
        result = await self._ask("getbalancebyaddr", {"address": wallet_address})
        try:
            units = parse_amount(expect(result.get("amount"), str, "getbalancebyaddr"))
        except UsageError as error:
            raise DecodeError(f"getbalancebyaddr answered {error}") from error
        return Decimal(format_amount(units))

    async def nonce(self, wallet_address: str, *, pool: bool = True) -> int:
        """The nonce of a wallet's next transaction, after those that wait in the pool unless told not to."""
        parse_wallet_address(wallet_address)
        result = await self._ask("getnoncebyaddr", {"address": wallet_address})
        nonce = expect(result.get("nonce"), int, "getnoncebyaddr")
        waiting = result.get("nonceInTxPool")
        if pool and type(waiting) is int:
            nonce = max(nonce, waiting)
        if not 0 <= nonce < 2**64:
            raise DecodeError(f"getnoncebyaddr answered {nonce}")
        return nonce

    async def registrant(self, name: str) -> Registrant | None:
        """Whose a name is; None if nobody has registered it."""
        result = await self._ask("getregistrant", {"name": name})
        key = _hex(result.get("registrant"), "getregistrant")
        if not key:
            return None
        if len(key) != PUBLIC_KEY_SIZE:
            raise DecodeError(f"getregistrant answered a public key of {len(key)} bytes")
        return Registrant(key, expect(result.get("expiresAt"), int, "getregistrant"))

    async def subscription(self, topic: str, subscriber: str) -> Subscription | None:
        """What a client address has subscribed to a topic; None if it has not."""
        Address.parse(subscriber)
        result = await self._ask("getsubscription", {"topic": topic, "subscriber": subscriber})
        expires_at = expect(result.get("expiresAt"), int, "getsubscription")
        meta = expect(result.get("meta"), str, "getsubscription")
        return Subscription(meta, expires_at) if expires_at else None

    async def subscribers(
        self,
        topic: str,
        *,
        offset: int = 0,
        limit: int = MAX_SUBSCRIBERS,
        meta: bool = False,
        pool: bool = False,
        prefix: bytes = b"",
    ) -> Subscribers:
        """A page of a topic's subscribers.

        ``pool`` adds those whose transaction still waits. ``prefix`` picks those whose SHA-256 of public key
        and identifier begins with it: a random sample, a 256th for each byte.
        """
        params = {
            "topic": topic,
            "offset": offset,
            "limit": limit,
            "meta": meta,
            "txPool": pool,
            "subscriberHashPrefix": prefix.hex(),
        }
        result = await self._ask("getsubscribers", params)
        confirmed, waiting = result.get("subscribers"), result.get("subscribersInTxPool")
        return Subscribers(_subscribers(confirmed), _subscribers(waiting))

    async def subscribers_count(self, topic: str, *, prefix: bytes = b"") -> int:
        """How many have subscribed to a topic, not counting those that still wait."""
        params = {"topic": topic, "subscriberHashPrefix": prefix.hex()}
        return expect(await self._rpc.call("getsubscriberscount", params), int, "getsubscriberscount")

    async def send(self, transaction: Transaction) -> str:
        """Hand a signed transaction to the network; its hash in hex. RPCError says why a node refuses it.

        Again does no harm: a transaction counts once.
        """
        params = {"tx": transaction.encode().hex()}
        try:
            result = await self._rpc.call("sendrawtransaction", params)
            expect(result, str, "sendrawtransaction")
        except RPCError as error:
            # Another seed was quicker to spread it, or its answer did not come in time.
            if error.code != -ErrorCode.APPEND_TX_POOL or ALREADY_TAKEN not in error.message:
                raise
        return transaction.hash.hex()

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return expect(await self._rpc.call(method, params), dict, method)


def _hex(value: object, method: str) -> bytes:
    try:
        return bytes.fromhex(expect(value, str, method))
    except ValueError as error:
        raise DecodeError(f"{method} answered what is not hexadecimal") from error


def _subscribers(value: object) -> dict[str, str]:
    """Nodes answer a list of addresses, a map from addresses to notes, or null for none."""
    if isinstance(value, dict):
        return {address: expect(meta, str, "getsubscribers") for address, meta in value.items()}
    addresses = expect(value or [], list, "getsubscribers")
    return {expect(address, str, "getsubscribers"): "" for address in addresses}
