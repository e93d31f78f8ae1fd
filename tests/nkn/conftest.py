"""Vectors of the official SDK, a devnet, and clients that join it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient

from .waiting import soon

# A busy machine is no error of the code under test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

MakeDevnet = Callable[..., Awaitable[Devnet]]
MakeClient = Callable[..., Awaitable[MultiClient]]

# Short enough that a test that loses a node sees it again soon.
QUICK = {"reconnect_min": 0.02, "reconnect_max": 0.1, "connect_timeout": 10.0}


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    """Byte-exact vectors computed by the official JavaScript SDK; every bytes value is hex."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text())
    return loaded


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is closed after the test, the last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def make_devnet(stack: AsyncExitStack) -> MakeDevnet:
    """A started devnet on free ports: ``await make_devnet(nodes=2, …)``."""

    async def make(**options: Any) -> Devnet:
        config = DevnetConfig(**{"listen": "127.0.0.1:0", "verify_signatures": True, **options})
        return await stack.enter_async_context(Devnet(config))

    return make


@pytest.fixture
async def devnet(make_devnet: MakeDevnet) -> Devnet:
    """A devnet of four nodes that does nothing bad to messages."""
    return await make_devnet()


@pytest.fixture
def make_client(stack: AsyncExitStack) -> MakeClient:
    """A client with all its paths, with another key each time.

    ``await make_client(devnet, "alice", sub_clients=2)``
    """

    async def make(
        devnet: Devnet, identifier: str = "", *, key: KeyPair | None = None, **options: Any
    ) -> MultiClient:
        config = ClientConfig(**{"seed_rpc": (devnet.rpc_url,), **QUICK, **options})
        client = MultiClient(key or KeyPair.generate(), identifier, config)
        await stack.enter_async_context(client)
        # What is sent before the receiver's sub-client of the same number is there is lost, as on the real
        # network.
        await soon(client.wait_paths(len(client.paths)))
        return client

    return make


@pytest.fixture
async def alice(devnet: Devnet, make_client: MakeClient) -> MultiClient:
    return await make_client(devnet, "alice")


@pytest.fixture
async def bob(devnet: Devnet, make_client: MakeClient) -> MultiClient:
    return await make_client(devnet, "bob")
