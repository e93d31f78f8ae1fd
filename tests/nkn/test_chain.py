"""What the chain says: asked of a devnet, and of nodes that talk nonsense."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import AddressError, DecodeError
from nconnect.nkn.account import Account
from nconnect.nkn.chain import Chain, Registrant, Subscribers, Subscription
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.rpc import RPCClient

from .conftest import MakeDevnet

KEY = KeyPair.from_seed(b"\x01" * 32)
PHONE = f"phone.{KEY.public_key.hex()}"


@pytest.fixture
async def chain(devnet: Devnet) -> AsyncIterator[Chain]:
    rpc = RPCClient([devnet.rpc_url])
    yield Chain(rpc)


async def test_blocks(devnet: Devnet, chain: Chain) -> None:
    assert await chain.height() == devnet.chain.height
    devnet.make_block()
    block = await chain.latest_block()
    assert (block.height, block.hash) == (devnet.chain.height, devnet.chain.block_hash)


async def test_balance_and_nonce(chain: Chain) -> None:
    assert await chain.balance(KEY.wallet_address) == 1000
    await Account(KEY, chain).transfer(KeyPair.generate().wallet_address, "0.1")
    assert await chain.balance(KEY.wallet_address) == Decimal("999.9")
    assert await chain.nonce(KEY.wallet_address) == 1


async def test_a_wrong_address_is_not_even_asked(chain: Chain) -> None:
    for question in (chain.balance, chain.nonce):
        with pytest.raises(AddressError, match="not a wallet address"):
            await question(PHONE)
    with pytest.raises(AddressError, match="not an NKN address"):
        await chain.subscription("news", KEY.wallet_address)


async def test_names(devnet: Devnet, chain: Chain) -> None:
    assert await chain.registrant("thename") is None
    await Account(KEY, chain).register_name("thename")
    expected = Registrant(KEY.public_key, devnet.ledger.confirmed.names.get("thename").expires_at)
    assert await chain.registrant("TheName") == expected


async def test_subscriptions(devnet: Devnet, chain: Chain) -> None:
    account = Account(KEY, chain)
    assert await chain.subscription("news", PHONE) is None
    await account.subscribe("news", 100, "phone", "a note: ä")
    await account.subscribe("news", 100)
    assert await chain.subscription("news", PHONE) == Subscription("a note: ä", devnet.chain.height + 100)
    own = KEY.public_key.hex()
    assert await chain.subscribers("news") == Subscribers({PHONE: "", own: ""}, {})
    assert await chain.subscribers("news", meta=True) == Subscribers({PHONE: "a note: ä", own: ""}, {})
    assert await chain.subscribers_count("news") == 2
    prefix = hashlib.sha256(KEY.public_key + b"phone").digest()[:2]
    assert await chain.subscribers("news", prefix=prefix) == Subscribers({PHONE: ""}, {})
    assert await chain.subscribers_count("news", prefix=prefix) == 1
    pages = [await chain.subscribers("news", offset=offset, limit=1) for offset in (0, 1, 2)]
    assert [len(page.confirmed) for page in pages] == [1, 1, 0]


async def test_what_waits_in_the_pool(make_devnet: MakeDevnet) -> None:
    devnet = await make_devnet(instant=False)
    rpc = RPCClient([devnet.rpc_url])
    chain = Chain(rpc)
    account = Account(KEY, chain)
    await account.subscribe("news", 100, "phone", "note")
    assert (await chain.nonce(account.address), await chain.nonce(account.address, pool=False)) == (1, 0)
    assert await chain.subscribers("news") == Subscribers({}, {})
    assert await chain.subscribers("news", pool=True) == Subscribers({}, {PHONE: ""})
    assert await chain.subscribers("news", pool=True, meta=True) == Subscribers({}, {PHONE: "note"})
    devnet.make_block()
    assert await chain.nonce(account.address, pool=False) == 1
    assert await chain.subscribers("news", pool=True) == Subscribers({PHONE: ""}, {})


class Canned(RPCClient):
    """Answers everything alike."""

    def __init__(self, result: object) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self._result = result

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        return self._result


QUESTIONS: dict[str, Callable[[Chain], Awaitable[object]]] = {
    "height": lambda chain: chain.height(),
    "latest_block": lambda chain: chain.latest_block(),
    "balance": lambda chain: chain.balance(KEY.wallet_address),
    "nonce": lambda chain: chain.nonce(KEY.wallet_address),
    "registrant": lambda chain: chain.registrant("thename"),
    "subscription": lambda chain: chain.subscription("news", PHONE),
    "subscribers": lambda chain: chain.subscribers("news"),
    "subscribers_count": lambda chain: chain.subscribers_count("news"),
    "send": lambda chain: Account(KEY, chain).transfer(KEY.wallet_address, 1, nonce=0),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("result", [None, [], True, 1.5], ids=repr)
async def test_nonsense_of_any_kind(question: str, result: object) -> None:
    with pytest.raises(DecodeError):
        await QUESTIONS[question](Chain(Canned(result)))


@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("latest_block", {"height": 1, "hash": "x"}),
        ("latest_block", {"height": True, "hash": ""}),
        ("balance", {"amount": 5}),
        ("balance", {"amount": "NaN"}),
        ("balance", {"amount": "-1"}),
        ("balance", {"amount": "9" * 100_000}),
        ("nonce", {"nonce": "5"}),
        ("nonce", {"nonce": -1}),
        ("nonce", {"nonce": 1, "nonceInTxPool": 2**64}),
        ("registrant", {"registrant": "zz"}),
        ("registrant", {"registrant": "ff", "expiresAt": 1}),
        ("registrant", {"registrant": "ff" * 32}),
        ("subscription", {"meta": None, "expiresAt": 1}),
        ("subscribers", {"subscribers": 5}),
        ("subscribers", {"subscribers": [5]}),
        ("subscribers", {"subscribers": {"a": 5}}),
        ("subscribers", {"subscribers": [], "subscribersInTxPool": "x"}),
    ],
)
async def test_nonsense_in_the_details(question: str, result: object) -> None:
    with pytest.raises(DecodeError) as caught:
        await QUESTIONS[question](Chain(Canned(result)))
    assert len(str(caught.value)) < 300


async def test_null_is_nobody() -> None:
    chain = Chain(Canned({"subscribers": None}))
    assert await chain.subscribers("news") == Subscribers({}, {})
