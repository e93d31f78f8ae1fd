"""A devnet, and clients of every SDK that join it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.nkn.addresses import client_id, sub_client_address
from nconnect.nkn.keys import KeyPair

from ..nkn.waiting import until
from . import sdks
from .driver import OfficialPeer
from .ours import OurPeer
from .peers import SUB_CLIENTS, Kind, Peer

# It checks what clients sign, and asks for receipts.
DEVNET = DevnetConfig(listen="127.0.0.1:0", verify_signatures=True)

Join = Callable[..., Awaitable[Peer]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def devnet_config() -> DevnetConfig:
    """Tests may parametrise it."""
    return DEVNET


@pytest.fixture
async def devnet(devnet_config: DevnetConfig, stack: AsyncExitStack) -> Devnet:
    return await stack.enter_async_context(Devnet(devnet_config))


@pytest.fixture
def join(devnet: Devnet, stack: AsyncExitStack) -> Join:
    """A client that has joined with all its sub-clients: ``await join(Kind.GO, "alice")``.

    Options are those of `OurPeer.join` and `OfficialPeer.join`.
    """

    async def join(kind: Kind, identifier: str, sub_clients: int = SUB_CLIENTS, **options: Any) -> Peer:
        seed = key(identifier).seed
        peer: Peer
        if kind is Kind.OURS:
            ours = OurPeer.join(devnet.rpc_url, identifier, seed, sub_clients, **options)
            peer = await stack.enter_async_context(ours)
        else:
            driver = await asyncio.to_thread(sdks.command, kind)
            theirs = OfficialPeer.join(kind, driver, devnet.rpc_url, identifier, seed, sub_clients, **options)
            peer = await stack.enter_async_context(theirs)
        # The Go SDK does not say when a node has accepted a sub-client.
        await until(lambda: all(home(devnet, peer.address, i) is not None for i in range(sub_clients)))
        return peer

    return join


def key(identifier: str) -> KeyPair:
    """A key that is the same in each run, so that a client always lands on the same nodes."""
    return KeyPair.from_seed(hashlib.sha256(identifier.encode()).digest())


def home(devnet: Devnet, address: str, index: int) -> int | None:
    """The node that a sub-client has joined."""
    joined = client_id(sub_client_address(address, index))
    return next((node.index for node in devnet.nodes if node.clients.get(joined)), None)
