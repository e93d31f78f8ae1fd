"""Devnets and raw clients that are closed after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.nkn.keys import KeyPair

from .raw_client import RawClient

MakeDevnet = Callable[..., Awaitable[Devnet]]
MakeClient = Callable[..., RawClient]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def make_devnet(stack: AsyncExitStack) -> MakeDevnet:
    """A started devnet on free ports: ``await make_devnet(nodes=2, …)``."""

    async def make(**options: Any) -> Devnet:
        config = DevnetConfig(**{"listen": "127.0.0.1:0", **options})
        return await stack.enter_async_context(Devnet(config))

    return make


@pytest.fixture
def make_client(stack: AsyncExitStack) -> MakeClient:
    """A raw client, not connected yet: ``make_client(1, "alice")``."""

    def make(seed: int | KeyPair = 1, identifier: str = "") -> RawClient:
        client = RawClient(seed, identifier)
        stack.push_async_exit(client)
        return client

    return make
