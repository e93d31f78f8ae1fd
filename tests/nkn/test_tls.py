"""Clients that speak TLS with their nodes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import NetworkError
from nconnect.nkn.multiclient import MultiClient

from .conftest import MakeClient, MakeDevnet
from .waiting import soon, until


@pytest.fixture
async def devnet(make_devnet: MakeDevnet) -> Devnet:
    return await make_devnet(tls=True)


@pytest.fixture
def trust(devnet: Devnet) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=devnet.certificate)


async def test_all_that_works_without_works_with(
    devnet: Devnet, make_client: MakeClient, trust: ssl.SSLContext
) -> None:
    alice = await make_client(devnet, "alice", tls=True, ssl_context=trust)
    bob = await make_client(devnet, "bob")
    ports = {f"127.0.0.1:{node.tls_port}" for node in devnet.nodes}
    assert {path.node for path in alice.paths} <= ports

    asking = asyncio.create_task(alice.send(bob.address, "a question"))
    await (await soon(anext(bob))).reply(b"x" * 1_000_000)
    reply = await soon(asking)
    assert reply is not None
    assert reply.data == b"x" * 1_000_000

    listener = bob.listen()
    dialled, accepted = await soon(asyncio.gather(alice.dial(bob.address), listener.accept()))
    async with dialled, accepted:
        writing = asyncio.create_task(dialled.write(b"y" * 3_000_000))
        received = bytearray()
        while len(received) < 3_000_000:
            received += await soon(accepted.read(65_536))
        await soon(writing)
        assert received == b"y" * 3_000_000


async def test_it_moves_to_another_nodes_tls_port(
    devnet: Devnet, make_client: MakeClient, trust: ssl.SSLContext
) -> None:
    alice = await make_client(devnet, "alice", tls=True, ssl_context=trust, sub_clients=1)
    home = devnet.responsible(alice.paths[0].address)
    assert home is not None
    await devnet.stop_node(home)
    await soon(until_at(alice, devnet, lambda index: index != home))
    await devnet.start_node(home)
    await soon(until_at(alice, devnet, lambda index: index == home))


async def until_at(client: MultiClient, devnet: Devnet, right: Callable[[int], bool]) -> None:
    """Wait until a client's first path is ready at a node that is right."""
    ports = {f"127.0.0.1:{node.tls_port}": node.index for node in devnet.nodes}
    await until(lambda: client.paths[0].state.value == "ready" and right(ports.get(client.paths[0].node, -1)))


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    devnet: Devnet, make_client: MakeClient
) -> None:
    with pytest.raises(NetworkError, match="certificate"):
        await make_client(devnet, "alice", tls=True)


async def test_nodes_without_tls(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet()
    with pytest.raises(NetworkError, match="doesn't support WSS"):
        await make_client(devnet, "alice", tls=True)
