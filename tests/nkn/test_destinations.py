"""What may stand for an address, and how long it is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import AddressError, NetworkError
from nconnect.nkn import destinations
from nconnect.nkn.account import Account
from nconnect.nkn.chain import Chain, Registrant
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.destinations import Destinations
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.rpc import RPCClient

from .test_resolver import Book

KEY = KeyPair.from_seed(b"\x01" * 32)
OTHER = KeyPair.from_seed(b"\x02" * 32)
HEX = KEY.public_key.hex()


class Counting(Chain):
    """Counts what it is asked for."""

    asked = 0

    async def registrant(self, name: str) -> Registrant | None:
        self.asked += 1
        return await super().registrant(name)


@pytest.fixture
async def chain(devnet: Devnet) -> AsyncIterator[Counting]:
    rpc = RPCClient([devnet.rpc_url])
    chain = Counting(rpc)
    await Account(KEY, chain).register_name("thename")
    yield chain


async def test_addresses_cost_no_question(chain: Counting) -> None:
    book = Destinations(chain, ClientConfig())
    for address in (HEX, f"alice.{HEX}", f"a.b.c.{HEX}"):
        assert await book.resolve(address) == address
    assert await book.resolve(f"alice.{HEX.upper()}") == f"alice.{HEX}"
    assert chain.asked == 0


async def test_a_name_stands_for_a_public_key(chain: Counting) -> None:
    book = Destinations(chain, ClientConfig())
    assert await book.resolve("thename") == HEX
    assert await book.resolve("a.b.thename") == f"a.b.{HEX}"
    with pytest.raises(AddressError, match=r"'alice\.noname' is neither an NKN address nor a registered"):
        await book.resolve("alice.noname")
    for wrong in ("", ".", "alice.", ".thename", "a" * 65, " .thename"):
        with pytest.raises(AddressError):
            await book.resolve(wrong)


async def test_a_name_is_remembered_for_a_while(chain: Counting) -> None:
    patient = Destinations(chain, ClientConfig(name_cache=1e6))
    forgetful = Destinations(chain, ClientConfig(name_cache=0))
    for book in (patient, forgetful):
        assert await book.resolve("thename") == HEX
    await Account(KEY, chain).transfer_name("thename", OTHER.public_key)
    assert await patient.resolve("alice.thename") == f"alice.{HEX}"
    assert chain.asked == 2
    assert await forgetful.resolve("alice.thename") == f"alice.{OTHER.public_key.hex()}"
    assert chain.asked == 3


async def test_a_name_that_is_not_there_yet_is_asked_for_again(chain: Counting) -> None:
    book = Destinations(chain, ClientConfig())
    with pytest.raises(AddressError):
        await book.resolve("later-name")
    await Account(KEY, chain).register_name("later-name")
    assert await book.resolve("later-name") == HEX


async def test_memory_is_bounded(chain: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "MAX_NAMES", 2)
    book = Destinations(chain, ClientConfig())
    for name in ("THENAME", "TheName", "thename", "theNAME"):
        await book.resolve(name)
    assert chain.asked == 4
    await book.resolve("theNAME")
    assert chain.asked == 4


async def test_resolvers_come_first_and_may_name_names(chain: Counting) -> None:
    config = ClientConfig(resolvers=(Book(home=f"alice.{HEX}", shop="till.thename", thename="home"),))
    book = Destinations(chain, config)
    assert await book.resolve("home") == f"alice.{HEX}"
    assert await book.resolve("thename") == f"alice.{HEX}"
    assert chain.asked == 0
    assert await book.resolve("shop") == f"till.{HEX}"
    assert chain.asked == 1


async def test_resolvers_have_their_time(chain: Counting) -> None:
    class Slow:
        async def resolve(self, name: str) -> str | None:
            await asyncio.Event().wait()
            return None

    book = Destinations(chain, ClientConfig(resolvers=(Slow(),), resolver_timeout=0.01))
    with pytest.raises(NetworkError, match=r"'home' was not resolved within 0\.01 s"):
        await book.resolve("home")
