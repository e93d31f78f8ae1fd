"""What a wallet asks a node: each method's shape, and how it complains."""

from __future__ import annotations

from typing import Any

import pytest

from nconnect.devnet.chain import Chain
from nconnect.devnet.ledger import Ledger
from nconnect.devnet.ledger_rpc import LedgerMethods, format_fixed64
from nconnect.devnet.names import NAME_DURATION
from nconnect.devnet.rpc_params import Failure
from nconnect.devnet.topics import subscriber_hash
from nconnect.nkn import transactions
from nconnect.nkn.transactions import UNIT, Transaction

from .transacting import ALICE, BOB, account, signed, submit, transfer

ADDRESS = f"phone.{ALICE.public_key.hex()}"


class Node:
    """A ledger and the methods that ask it."""

    def __init__(self, *, instant: bool = True) -> None:
        self.chain = Chain(0)
        self.ledger = Ledger(self.chain, {account(BOB): 15 * UNIT // 10}, 1000 * UNIT, instant=instant)
        self._methods = LedgerMethods(self.ledger, self.chain).methods

    def call(self, method: str, **params: Any) -> Any:
        return self._methods[method](params)


@pytest.fixture
def node() -> Node:
    return Node()


def test_amounts_are_written_as_nknd_writes_them(node: Node) -> None:
    assert node.call("getbalancebyaddr", address=ALICE.wallet_address) == {"amount": "1000"}
    assert node.call("getbalancebyaddr", address=BOB.wallet_address) == {"amount": "1.50000000"}
    assert format_fixed64(1) == "0.00000001"


def test_a_transaction_is_answered_with_its_hash(node: Node) -> None:
    data = signed(ALICE, transfer(ALICE, BOB, 5), 0)
    assert node.call("sendrawtransaction", tx=data.hex()) == Transaction.decode(data).hash.hex()
    assert node.call("getnoncebyaddr", address=ALICE.wallet_address) == {
        "nonce": 1,
        "nonceInTxPool": 1,
        "currentHeight": node.chain.height,
    }


def test_names(node: Node) -> None:
    submit(node.ledger, ALICE, transactions.register_name(ALICE.public_key, "TheName"))
    expected = {"registrant": ALICE.public_key.hex(), "expiresAt": node.chain.height + NAME_DURATION}
    assert node.call("getregistrant", name="thename") == expected
    assert node.call("getregistrant", name="another") == {"registrant": "", "expiresAt": 0}


def test_subscriptions(node: Node) -> None:
    for identifier, meta in (("phone", "m1"), ("", "m2"), ("pad", "")):
        submit(node.ledger, ALICE, transactions.subscribe(ALICE.public_key, identifier, "news", 100, meta))
    every = node.call("getsubscribers", topic="news", offset=0)["subscribers"]
    assert len(every) == 3
    assert ADDRESS in every
    assert node.call("getsubscriberscount", topic="news") == 3
    assert node.call("getsubscribers", topic="news", offset=1, limit=1) == {"subscribers": every[1:2]}
    assert node.call("getsubscribers", topic="news", offset=1, limit=0) == {"subscribers": every[1:]}
    assert node.call("getsubscribers", topic="news", limit=5.0, meta=True)["subscribers"][ADDRESS] == "m1"

    prefix = subscriber_hash(ALICE.public_key, "phone")[:3].hex()
    found = node.call("getsubscribers", topic="news", subscriberHashPrefix=prefix)
    assert found == {"subscribers": [ADDRESS]}
    assert node.call("getsubscriberscount", topic="news", subscriberHashPrefix=prefix) == 1
    assert node.call("getsubscriberscount", topic="news", subscriberHashPrefix="") == 3
    # Buckets are history: there is one.
    assert node.call("getsubscribers", topic="news", bucket=1) == {"subscribers": []}

    expected = {"meta": "m1", "expiresAt": node.chain.height + 100}
    assert node.call("getsubscription", topic="news", subscriber=ADDRESS) == expected
    nothing = {"meta": "", "expiresAt": 0}
    assert node.call("getsubscription", topic="olds", subscriber=ADDRESS) == nothing
    assert node.call("getsubscription", topic="news", bucket=1, subscriber=ADDRESS) == nothing


def test_what_waits_shows_only_to_who_asks_for_it() -> None:
    node = Node(instant=False)
    submit(node.ledger, ALICE, transactions.subscribe(ALICE.public_key, "phone", "news", 100, "m"))
    assert node.call("getsubscribers", topic="news", offset=0) == {"subscribers": []}
    assert node.call("getsubscribers", topic="news", txPool=True) == {
        "subscribers": [],
        "subscribersInTxPool": [ADDRESS],
    }
    assert node.call("getsubscribers", topic="news", txPool=True, meta=True) == {
        "subscribers": {},
        "subscribersInTxPool": {ADDRESS: "m"},
    }
    nonces = node.call("getnoncebyaddr", address=ALICE.wallet_address)
    assert (nonces["nonce"], nonces["nonceInTxPool"]) == (0, 1)
    node.chain.advance()
    node.ledger.make_block()
    assert node.call("getsubscribers", topic="news", txPool=True) == {
        "subscribers": [ADDRESS],
        "subscribersInTxPool": [],
    }


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("getbalancebyaddr", {}, 42002, "length of params is less than 1"),
        ("getbalancebyaddr", {"address": 5}, 42002, "address should be a string"),
        ("getbalancebyaddr", {"address": "NKNx"}, 45001, "not a wallet address"),
        ("getnoncebyaddr", {"address": ADDRESS}, 45001, "not a wallet address"),
        ("getregistrant", {"name": None}, 42002, "name should be a string"),
        ("getsubscribers", {"topic": "x"}, 42002, "length of params is less than 2"),
        ("getsubscribers", {"topic": [], "offset": 0}, 42002, "topic should be a string"),
        ("getsubscribers", {"topic": "x", "offset": "0"}, 42002, "offset should be a float64"),
        ("getsubscribers", {"topic": "x", "subscriberHashPrefix": "x"}, 42002, "should be a hex string"),
        ("getsubscriberscount", {}, 42002, "length of params is less than 1"),
        ("getsubscription", {"topic": "x"}, 42002, "length of params is less than 2"),
        ("getsubscription", {"topic": "x", "subscriber": "y"}, 45001, "not an NKN address"),
        ("sendrawtransaction", {}, 42002, "length of params is less than 1"),
        ("sendrawtransaction", {"tx": 5}, 42002, "tx should be a hex string"),
        ("sendrawtransaction", {"tx": "xy"}, 42002, "encoding/hex"),
        ("sendrawtransaction", {"tx": "ff"}, 43001, "no transaction"),
        (
            "sendrawtransaction",
            {"tx": signed(ALICE, transfer(ALICE, BOB, 5), 3).hex()},
            45021,
            "nonce is not continuous",
        ),
    ],
)
def test_bad_calls(node: Node, method: str, params: dict[str, object], code: int, words: str) -> None:
    with pytest.raises(Failure) as failure:
        node.call(method, **params)
    assert failure.value.code == code
    assert words in str(failure.value.data)
