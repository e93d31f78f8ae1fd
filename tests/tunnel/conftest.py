"""A devnet and clients on it, for what needs a network but no root."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient

from ..nkn.waiting import soon

MakeClient = Callable[..., Awaitable[MultiClient]]

PATHS = 2


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is closed after the test, the last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def devnet(stack: AsyncExitStack) -> Devnet:
    return await stack.enter_async_context(Devnet(DevnetConfig(nodes=PATHS, listen="127.0.0.1:0")))


@pytest.fixture
def make_client(stack: AsyncExitStack, devnet: Devnet) -> MakeClient:
    """A client with all its paths, of another key each time: ``await make_client("alice")``."""

    async def make(identifier: str = "", key: KeyPair | None = None) -> MultiClient:
        config = ClientConfig(seed_rpc=(devnet.rpc_url,), sub_clients=PATHS)
        client = MultiClient(key or KeyPair.generate(), identifier, config)
        await stack.enter_async_context(client)
        await soon(client.wait_paths(PATHS))
        return client

    return make
