"""The JSON-RPC methods that ask the ledger, or give it a transaction.

Source: nknd ``api/common/interfaces.go``: what they take, answer and complain of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nconnect.devnet.chain import Chain
from nconnect.devnet.ledger import Ledger
from nconnect.devnet.rejected import Rejected
from nconnect.devnet.rpc_params import Failure, Params, fail, hexadecimal, need, number, string
from nconnect.devnet.state import State
from nconnect.devnet.topics import Subscription
from nconnect.errors import AddressError, DecodeError
from nconnect.nkn.addresses import Address
from nconnect.nkn.messages import ErrorCode
from nconnect.nkn.transactions import UNIT
from nconnect.nkn.wallet import parse_wallet_address

# nknd api/common/errcode: bytes that are no transaction.
INVALID_TRANSACTION = 43001
# getsubscribers answers so many unless it is told otherwise.
DEFAULT_LIMIT = 1000


class LedgerMethods:
    """`methods` maps a method's name to what answers it."""

    def __init__(self, ledger: Ledger, chain: Chain) -> None:
        self._ledger = ledger
        self._chain = chain
        self.methods: Mapping[str, Callable[[Params], object]] = {
            "getbalancebyaddr": self._get_balance,
            "getnoncebyaddr": self._get_nonce,
            "getregistrant": self._get_registrant,
            "getsubscribers": self._get_subscribers,
            "getsubscriberscount": self._get_subscribers_count,
            "getsubscription": self._get_subscription,
            "sendrawtransaction": self._send_raw_transaction,
        }

    def _get_balance(self, params: Params) -> object:
        return {"amount": format_fixed64(self._ledger.confirmed.accounts.balance(_account(params)))}

    def _get_nonce(self, params: Params) -> object:
        account = _account(params)
        return {
            "nonce": self._ledger.confirmed.accounts.nonce(account),
            "nonceInTxPool": self._ledger.pool.accounts.nonce(account),
            "currentHeight": self._chain.height,
        }

    def _get_registrant(self, params: Params) -> object:
        name = self._ledger.confirmed.names.get(string(params, "name"))
        return {"registrant": name.registrant.hex(), "expiresAt": name.expires_at}

    def _get_subscribers(self, params: Params) -> object:
        need(params, 2)
        topic = string(params, "topic")
        offset, limit = number(params, "offset", 0), number(params, "limit", DEFAULT_LIMIT)
        meta = params.get("meta") is True
        found = _subscribers(self._ledger.confirmed, topic, params)
        page = found[offset : offset + limit] if limit else found[offset:]
        answer = {"subscribers": _list(page, meta)}
        if params.get("txPool") is True:
            known = {entry.address for entry in self._ledger.confirmed.topics.subscribers(topic)}
            waiting = self._ledger.pool.topics.subscribers(topic)
            new = [entry for entry in waiting if entry.address not in known]
            answer["subscribersInTxPool"] = _list(new, meta)
        return answer

    def _get_subscribers_count(self, params: Params) -> object:
        return len(_subscribers(self._ledger.confirmed, string(params, "topic"), params))

    def _get_subscription(self, params: Params) -> object:
        need(params, 2)
        topic, bucket = string(params, "topic"), number(params, "bucket", 0)
        try:
            address = Address.parse(string(params, "subscriber"))
        except AddressError as error:
            raise fail(ErrorCode.INTERNAL_ERROR, str(error)) from error
        topics = self._ledger.confirmed.topics
        entry = topics.get(topic if bucket == 0 else "", address.public_key, address.identifier)
        return {"meta": entry.meta, "expiresAt": entry.expires_at}

    def _send_raw_transaction(self, params: Params) -> object:
        need(params, 1)
        transaction = params.get("tx")
        if not isinstance(transaction, str):
            raise fail(ErrorCode.INVALID_PARAMS, "tx should be a hex string")
        try:
            return self._ledger.submit(bytes.fromhex(transaction)).hex()
        except ValueError as error:
            raise fail(ErrorCode.INVALID_PARAMS, "encoding/hex: invalid byte") from error
        except DecodeError as error:
            raise Failure(INVALID_TRANSACTION, "INVALID TRANSACTION", str(error)) from error
        except Rejected as error:
            raise fail(ErrorCode.APPEND_TX_POOL, str(error)) from error


def _account(params: Params) -> bytes:
    try:
        return parse_wallet_address(string(params, "address"))
    except AddressError as error:
        raise fail(ErrorCode.INTERNAL_ERROR, str(error)) from error


def _subscribers(state: State, topic: str, params: Params) -> list[Subscription]:
    """A topic's subscribers, as bucket and hash prefix pick them; there is one bucket, number 0."""
    prefix = hexadecimal(params, "subscriberHashPrefix")
    return [] if number(params, "bucket", 0) else state.topics.subscribers(topic, prefix)


def _list(entries: list[Subscription], meta: bool) -> Any:
    if meta:
        return {entry.address: entry.meta for entry in entries}
    return [entry.address for entry in entries]


def format_fixed64(units: int) -> str:
    """An amount of NKN as nknd writes it (``common/Fixed64.go``): no decimals, or all eight."""
    whole, rest = divmod(units, UNIT)
    return f"{whole}.{rest:08}" if rest else f"{whole}"
