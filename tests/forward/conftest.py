"""A devnet, a provider and a user on it, and hosts to connect to; all on loopback.

::

    program ── SOCKS5 ── Socks ══ devnet ══ Provider ── TCP, UDP ── Host 127.0.0.1

A provider never connects to loopback, so here it is told that its LAN is there (`LOOPBACK`); which addresses
it does refuse is tested by themselves (test_destinations) and in a LAN of its own (tests/e2e/test_socks).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from nconnect.config import NetworkSection
from nconnect.devnet import Devnet
from nconnect.errors import NconnectError
from nconnect.forward.destinations import Destinations
from nconnect.forward.provider import Provider
from nconnect.forward.socks import Socks, SocksOptions
from nconnect.host import networks
from nconnect.host.grants import Target
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair
from nconnect.permission.authority import Authority
from nconnect.permission.store import Store
from nconnect.tunnel.control import IPAddress
from nconnect.tunnel.providing import ProvidingOptions

from ..nkn.waiting import soon
from ..tunnel.conftest import PATHS, devnet, make_client, stack

__all__ = ["devnet", "make_client", "stack"]

ANN, EVE = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 3))
PROVIDER = KeyPair.from_seed(bytes([9]) * 32)
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Everywhere:
    """A kernel that has a route to everything."""

    def leads_away(self, address: IPAddress) -> bool:
        return True

    def close(self) -> None: ...


class LoopbackDestinations(Destinations):
    """Loopback as the LAN, without 127.0.0.66."""

    def __init__(self) -> None:
        super().__init__(Everywhere())

    def allows(self, address: IPAddress, port: int, protocol: str, granted: Iterable[Target]) -> bool:
        # Named exactly, loopback would be granted as any other address.
        exact = [
            target._replace(network=ip_network(address)) for target in granted if address in target.network
        ]
        return super().allows(address, port, protocol, exact) and str(address) != "127.0.0.66"


@dataclass
class Running:
    """A service that runs."""

    service: Any
    task: asyncio.Task[None]
    said: list[str]

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, NconnectError):
            await self.task


@contextlib.asynccontextmanager
async def running(service: Any, said: list[str]) -> AsyncIterator[Running]:
    """The service, once it is ready; it is stopped at the end."""
    task = asyncio.create_task(service.run())
    ready = asyncio.create_task(service.ready.wait())
    run = Running(service, task, said)
    try:
        await soon(asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED))
        if task.done():
            task.result()
        yield run
    finally:
        ready.cancel()
        await run.stop()


@pytest.fixture
def network(devnet: Devnet) -> NetworkSection:
    return NetworkSection(seed_rpc=(devnet.rpc_url,), sub_clients=PATHS)


@pytest.fixture
async def provider(
    network: NetworkSection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """A provider that lets Ann in."""
    monkeypatch.setattr(networks, "reach", lambda prefix: "lo")
    said: list[str] = []
    options = ProvidingOptions(LOOPBACK, "serve", network)
    authority = Authority(Store(tmp_path / "users.sqlite"), given={ANN.public_key})
    service = Provider(options, PROVIDER, said.append, LoopbackDestinations(), authority)
    async with running(service, said) as run:
        yield run


MakeSocks = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def make_socks(network: NetworkSection) -> MakeSocks:
    """`async with make_socks(key)`: a user's proxy on a free port."""

    @contextlib.asynccontextmanager
    async def make(key: KeyPair = ANN, *, wait: bool = False) -> AsyncIterator[Running]:
        said: list[str] = []
        peer = Address.parse(PROVIDER.public_key.hex())
        options = SocksOptions(peer, "127.0.0.1", 0, "socks", network, wait)
        async with running(Socks(options, key, said.append), said) as run:
            yield run

    return make


@pytest.fixture
async def socks(provider: Running, make_socks: MakeSocks) -> AsyncIterator[Running]:
    """Ann's proxy, connected."""
    async with make_socks() as run:
        yield run


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MakeHost = Callable[[Handler], Awaitable[int]]


@pytest.fixture
async def make_host() -> AsyncIterator[MakeHost]:
    """`await make_host(handler)`: a TCP server at 127.0.0.1; its port."""
    servers = []

    async def make(handler: Handler) -> int:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield make
    for server in servers:
        server.close()
