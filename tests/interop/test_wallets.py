"""Wallet files: what one SDK writes every other opens. No network is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nconnect.errors import UsageError
from nconnect.nkn.wallet import Wallet

from . import sdks
from .conftest import key
from .driver import Driver
from .peers import OFFICIAL, Kind, PeerError, one_of

pytestmark = pytest.mark.interop

PASSWORD = "correct horse, 世界"
WALLET = Wallet(key("alice"))


@asynccontextmanager
async def driver_of(kind: Kind) -> AsyncIterator[Driver]:
    driver = await Driver.start(await asyncio.to_thread(sdks.command, kind))
    try:
        yield driver
    finally:
        await driver.end()


@pytest.mark.parametrize("kind", one_of(*OFFICIAL))
async def test_each_opens_what_the_other_wrote(kind: Kind) -> None:
    seed = WALLET.key.seed.hex()
    async with driver_of(kind) as driver:
        for version in (1, 2):
            file = WALLET.to_json(PASSWORD, version=version)
            opened = await driver.call("openWallet", file=file, password=PASSWORD)
            assert opened == [WALLET.address, seed]
        # Other versions than the newest are written by the JavaScript SDK only.
        for version in (1, 2) if kind is Kind.JS else (2,):
            file = await driver.call("writeWallet", seed=seed, password=PASSWORD, version=version)
            assert Wallet.from_json(file, PASSWORD).key.seed == WALLET.key.seed


@pytest.mark.parametrize("kind", one_of(*OFFICIAL))
async def test_each_refuses_another_password(kind: Kind) -> None:
    async with driver_of(kind) as driver:
        with pytest.raises(PeerError, match=r"(?i)wrong password"):
            await driver.call("openWallet", file=WALLET.to_json(PASSWORD), password="another")
        file = await driver.call("writeWallet", seed=WALLET.key.seed.hex(), password=PASSWORD, version=2)
        with pytest.raises(UsageError, match="wrong password"):
            Wallet.from_json(file, "another")
