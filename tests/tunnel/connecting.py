"""A connector that runs, and a provider by hand that it dials.

The fixtures are for those tests that import them: `provider`, `user`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from nconnect.config import NetworkSection
from nconnect.devnet import Devnet
from nconnect.errors import (
    NconnectError,
)
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.listener import Listener
from nconnect.nkn.multiclient import MultiClient
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, joining, overlay
from nconnect.tunnel.connector import Connector, ConnectorOptions
from nconnect.tunnel.link import OVERLAY_SESSION

from ..nkn.waiting import soon, until
from .conftest import PATHS, MakeClient
from .fake_host import LAN, FakeHost, journal
from .raw_peer import RawPeer

USER, PROVIDER = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 9))
WELCOME = control.Welcome(
    addresses=(ip_address("100.64.0.2"), ip_address("fd00:9::2")),
    gateways=(ip_address("100.64.0.1"),),
    mtu=1500,
    routes=LAN,
    name="office",
)


class Provider:
    """A provider by hand, that answers each Hello with what the test wants."""

    def __init__(self, client: MultiClient) -> None:
        self.client = client
        self.listener: Listener = client.listen(config=OVERLAY_SESSION)
        self.identity = Identity(PROVIDER.seed)
        self.hello = control.Hello()
        """What the last user said."""

    async def accept(self, *answer: control.ControlMessage) -> RawPeer:
        """The next user, who has said Hello and got `answer`."""
        peer = RawPeer(await soon(self.listener.accept()), self.identity, server=True)
        await soon(peer.handshake())
        hello = await soon(peer.receive())
        assert isinstance(hello, control.Hello)
        self.hello = hello
        await peer.send(*answer)
        return peer


class User:
    """A running connector."""

    def __init__(self, connector: Connector, host: FakeHost, said: list[str]) -> None:
        self.connector = connector
        self.host = host
        self.said = said
        self.task = asyncio.create_task(connector.run())

    async def fails(self) -> BaseException:
        """The error that ends it, after which nothing is left on the host."""
        await asyncio.wait([self.task], timeout=20)
        error = self.task.exception()
        assert error is not None
        assert len(str(error).splitlines()) <= 2
        assert self.host.undone == 1
        assert self.host.tun.fd == -1
        return error

    async def state(self, state: str) -> None:
        await until(lambda: self.connector.status().state == state)


@pytest.fixture
async def provider(make_client: MakeClient) -> Provider:
    return Provider(await make_client(key=PROVIDER))


@pytest.fixture
async def user(devnet: Devnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    """A user who dials the provider."""
    async with running_user(devnet, tmp_path, monkeypatch) as user:
        yield user


@contextlib.asynccontextmanager
async def running_user(
    devnet: Devnet, directory: Path, monkeypatch: pytest.MonkeyPatch, *, wait: bool = False
) -> AsyncIterator[User]:
    """A user who dials the provider, and leaves nothing on the host; `wait` as `up --wait` does."""
    monkeypatch.setattr(joining, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(joining, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(joining, "LAST_RETRY", 0.1)
    monkeypatch.setattr(overlay, "HOST_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr(overlay, "HOST_LOOK_INTERVAL", 0.1)
    host, said = FakeHost(), list[str]()
    host.install(monkeypatch)
    options = ConnectorOptions(
        peer=Address.parse(PROVIDER.public_key.hex()),
        name="test",
        network=NetworkSection(seed_rpc=(devnet.rpc_url,), sub_clients=PATHS),
        journal=journal(directory),
        addresses=directory / "addresses.json",
        wait=wait,
    )
    user = User(Connector(options, USER, said.append), host, said)
    yield user
    user.task.cancel()
    with contextlib.suppress(asyncio.CancelledError, NconnectError):
        await user.task
    assert host.undone == 1
