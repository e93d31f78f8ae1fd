"""A gateway that runs, and users by hand, good ones and bad.

The fixtures are for those tests that import them: `make_provider`, `provider`, `connect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nconnect.config import NetworkSection
from nconnect.devnet import Devnet
from nconnect.errors import ClosedError
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.permission.authority import Authority
from nconnect.permission.store import Store
from nconnect.tunnel import control
from nconnect.tunnel.gateway import Gateway, GatewayOptions
from nconnect.tunnel.holding import DEFAULT_SECONDS

from ..nkn.waiting import soon, until
from .conftest import PATHS, MakeClient
from .fake_host import LAN, FakeHost, journal
from .raw_peer import RawPeer, udp_packet

HELLO = control.Hello(name="laptop")
HOST = bytes([192, 168, 77, 20])
ANN, BOB, EVE, MALLORY = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2, 3, 5))
PROVIDER = KeyPair.from_seed(bytes([9]) * 32)


class Provider:
    """A running gateway."""

    def __init__(self, gateway: Gateway, host: FakeHost, said: list[str], authority: Authority) -> None:
        self.authority = authority
        self.gateway = gateway
        self.host = host
        self.said = said

    @property
    def address(self) -> str:
        return PROVIDER.public_key.hex()

    @property
    def packets(self) -> dict[str, int]:
        return self.gateway.status().packets

    @property
    def users(self) -> list[str]:
        return [user.key for user in self.gateway.status().users]

    async def serves(self, user: User) -> bool:
        """Whether a packet of this user goes to the LAN and its answer comes back."""
        payload = random.randbytes(16)
        await user.peer.send_packets(udp_packet(user.address, HOST, payload))
        await until(lambda: any(payload in packet for packet in self.host.tun.collect()))
        self.host.tun.deliver(udp_packet(HOST, user.address, payload))
        return any(payload in packet for packet in await soon(user.peer.receive_packets()))


class User:
    """An admitted user, by hand."""

    def __init__(self, peer: RawPeer, welcome: control.Welcome) -> None:
        self.peer = peer
        self.welcome = welcome
        self.address = welcome.addresses[0].packed


MakeProvider = Callable[..., contextlib.AbstractAsyncContextManager[Provider]]
MakeUser = Callable[[KeyPair], Awaitable[User]]


@pytest.fixture
def make_provider(devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeProvider:
    """A gateway that lets Ann and Bob in, unless told otherwise."""

    @contextlib.asynccontextmanager
    async def make(
        *, pool4: str = "", leases: Path = tmp_path / "leases.json", lease_seconds: float = DEFAULT_SECONDS
    ) -> AsyncIterator[Provider]:
        host, said = FakeHost(), list[str]()
        host.install(monkeypatch)
        options = GatewayOptions(
            lan=LAN,
            name="test",
            network=NetworkSection(seed_rpc=(devnet.rpc_url,), sub_clients=PATHS),
            journal=journal(tmp_path),
            leases=leases,
            pool4=pool4,
            lease_seconds=lease_seconds,
        )
        authority = Authority(
            Store(tmp_path / "users.sqlite"), tmp_path / "policy.toml", {ANN.public_key, BOB.public_key}
        )
        serving = Gateway(options, PROVIDER, said.append, authority)
        task = asyncio.create_task(serving.run())
        try:
            await soon(serving.ready.wait())
            yield Provider(serving, host, said, authority)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert host.undone == 1
        assert host.tun.fd == -1

    return make


@pytest.fixture
async def provider(make_provider: MakeProvider) -> AsyncIterator[Provider]:
    async with make_provider() as provider:
        yield provider


@pytest.fixture
def connect(provider: Provider, make_client: MakeClient) -> MakeUser:
    """An admitted user with this key, connected."""

    async def connect(key: KeyPair) -> User:
        return await admitted(await make_client("up", key), provider)

    return connect


async def admitted(client: MultiClient, provider: Provider, hello: control.Hello = HELLO) -> User:
    peer = await soon(RawPeer.dial(client, provider.address))
    await peer.send(hello)
    welcome = await soon(peer.receive())
    assert isinstance(welcome, control.Welcome)
    return User(peer, welcome)


async def answer_to(client: MultiClient, provider: Provider, first: control.ControlMessage) -> object:
    """What the provider says to a first message."""
    peer = await soon(RawPeer.dial(client, provider.address))
    await peer.send(first)
    answer = await soon(peer.receive())
    with pytest.raises(ClosedError):
        while True:
            await soon(peer.receive())
    return answer
