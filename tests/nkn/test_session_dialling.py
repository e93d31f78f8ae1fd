"""Sessions of two MultiClients over a devnet: who dials, who listens, over which paths, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import ClosedError, DialTimeoutError, NetworkError, UsageError
from nconnect.nkn.client import State
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import NodeInfo
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.rpc import RPCClient

from .conftest import MakeClient, MakeDevnet
from .pairs import connect, send_all
from .waiting import PATIENCE, soon, until


async def test_dialling_somebody_who_is_not_there(alice: MultiClient) -> None:
    absent = KeyPair.generate().public_key.hex()
    with pytest.raises(DialTimeoutError, match=rf"{absent} did not answer in 0\.1 s over \d paths"):
        await soon(alice.dial(absent, timeout=0.1))
    with pytest.raises(UsageError, match="this client"):
        await alice.dial(alice.address)
    assert len(alice._sessions) == 0


async def test_a_dial_that_is_cancelled_leaves_nothing(alice: MultiClient) -> None:
    dialling = asyncio.create_task(alice.dial(KeyPair.generate().public_key.hex()))
    await until(lambda: len(alice._sessions))
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert len(alice._sessions) == 0


async def test_only_accepted_peers_are_answered(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    listener = bob.listen([f"{alice.key.public_key.hex()}$"])
    stranger = await make_client(devnet, "alice")
    with pytest.raises(DialTimeoutError):
        await soon(stranger.dial(bob.address, timeout=0.2))
    friend = await make_client(devnet, "other-identifier", key=alice.key)
    for client in (alice, friend):
        _, accepted = await soon(asyncio.gather(client.dial(bob.address), listener.accept()))
        assert accepted.remote_address == client.address
    with pytest.raises(UsageError, match="listens already"):
        bob.listen(None)
    listener.close()
    with pytest.raises(DialTimeoutError):
        await soon(alice.dial(bob.address, timeout=0.1))
    with pytest.raises(ClosedError):
        await listener.accept()


async def test_a_listener_is_an_iterator(alice: MultiClient, bob: MultiClient) -> None:
    listener = bob.listen(None)

    async def serve() -> int:
        count = 0
        async for session in listener:
            await send_all(session, b"welcome")
            count += 1
        return count

    serving = asyncio.create_task(serve())
    for _ in range(3):
        session = await soon(alice.dial(bob.address))
        assert await soon(session.read()) == b"welcome"
    listener.close()
    assert await soon(serving) == 3


async def test_a_handshake_is_sent_until_somebody_listens(alice: MultiClient, bob: MultiClient) -> None:
    dialling = asyncio.create_task(alice.dial(bob.address))
    await until(lambda: len(alice._sessions))
    await bob.send(alice.address, "marker", no_reply=True)
    await soon(anext(alice))
    listener = bob.listen(None)
    accepted = await soon(listener.accept())
    assert (await soon(dialling)).id == accepted.id


async def test_clients_with_different_numbers_of_paths(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient
) -> None:
    original = await make_client(devnet, "few", sub_clients=1, original=True)
    await original.wait_paths(2)
    for dialler, acceptor in ((alice, original), (original, alice)):
        dialled, accepted = await connect(dialler, acceptor)
        assert len(dialled.stats.paths) == len(accepted.stats.paths) == 2
        writing = asyncio.create_task(send_all(dialled, bytes(300_000)))
        assert await soon(accepted.read()) == bytes(300_000)
        await soon(writing)


async def test_closing_the_client_closes_its_sessions(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    await dialled.write(b"last words")
    closing = asyncio.create_task(alice.close())
    assert await soon(accepted.read()) == b"last words"
    await soon(closing)
    assert dialled.closed


async def test_a_dial_at_the_start_waits_for_all_paths(devnet: Devnet, bob: MultiClient) -> None:
    config = ClientConfig(seed_rpc=(devnet.rpc_url,), path_wait=PATIENCE)
    async with MultiClient(KeyPair.generate(), "", config) as early:
        dialled, accepted = await connect(early, bob)
        assert len(dialled.stats.paths) == len(accepted.stats.paths) == 4


async def test_a_dial_does_not_wait_for_a_path_that_cannot_be(
    devnet: Devnet, bob: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def get_ws_addr(self: RPCClient, address: str) -> NodeInfo:
        if address.startswith("__3__"):
            raise NetworkError("no node for this one")
        return await plain(self, address)

    plain = RPCClient.get_ws_addr
    monkeypatch.setattr(RPCClient, "get_ws_addr", get_ws_addr)
    config = ClientConfig(seed_rpc=(devnet.rpc_url,), path_wait=0.05)
    async with MultiClient(KeyPair.generate(), "", config) as early:
        await soon(early.wait_paths(3))
        dialled, accepted = await connect(early, bob)
        assert len(dialled.stats.paths) == len(accepted.stats.paths) == 3


class Gate:
    """Lets only sub-client 0 of a client find its node while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, client: MultiClient) -> None:
        self.open = asyncio.Event()
        plain = client._rpc.get_ws_addr

        async def get_ws_addr(address: str) -> NodeInfo:
            if not address.startswith("__0__"):
                await self.open.wait()
            return await plain(address)

        monkeypatch.setattr(client._rpc, "get_ws_addr", get_ws_addr)


async def test_a_dial_after_an_outage_waits_for_all_paths(
    make_devnet: MakeDevnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    devnet = await make_devnet(nodes=1)
    alice, bob = await make_client(devnet, "alice", path_wait=PATIENCE), await make_client(devnet, "bob")
    alice._paths.ready_since -= 2 * PATIENCE
    gate = Gate(monkeypatch, alice)
    await devnet.stop_node(0)
    await until(lambda: State.READY not in [path.state for path in alice.paths + bob.paths])
    connecting = asyncio.create_task(connect(alice, bob))
    await devnet.start_node(0)
    await soon(asyncio.gather(alice.wait_paths(1), bob.wait_paths(4)))
    assert not connecting.done()
    gate.open.set()
    dialled, accepted = await connecting
    assert len(dialled.stats.paths) == len(accepted.stats.paths) == 4


@pytest.mark.parametrize("waiting", ["dialler", "acceptor"])
async def test_the_last_path_is_lost_while_a_dial_waits_for_the_others(
    make_devnet: MakeDevnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    devnet = await make_devnet(nodes=1)
    wait = {waiting: 0.5}
    dialler = await make_client(devnet, "dialler", path_wait=wait.get("dialler", 0.0))
    acceptor = await make_client(devnet, "acceptor", path_wait=wait.get("acceptor", 0.0))
    client = dialler if waiting == "dialler" else acceptor
    gate = Gate(monkeypatch, client)
    listener = acceptor.listen(None)

    async def outage() -> None:
        await devnet.stop_node(0)
        await until(lambda: not any(path.state is State.READY for path in client.paths))

    await outage()
    await devnet.start_node(0)
    await soon(asyncio.gather(dialler.wait_paths(1), acceptor.wait_paths(1)))
    dialling = asyncio.create_task(dialler.dial(acceptor.address))
    if waiting == "acceptor":
        await until(lambda: acceptor._sessions._dials)
    accepting = asyncio.create_task(listener.accept())
    await outage()
    # Until nobody waits for the others any more.
    await asyncio.wait([dialling, accepting], timeout=1.0)
    gate.open.set()
    await devnet.start_node(0)
    dialled, accepted = await soon(asyncio.gather(dialling, accepting))
    assert dialled.id == accepted.id


async def test_without_a_network_nothing_waits_for_ever(
    make_devnet: MakeDevnet, make_client: MakeClient, bob: MultiClient
) -> None:
    devnet = await make_devnet(nodes=1)
    alice = await make_client(devnet, "alice", reply_timeout=0.05)
    await devnet.stop_node(0)
    await until(lambda: all(path.error for path in alice.paths))
    with pytest.raises(NetworkError, match=rf"cannot dial {bob.address}: no seed"):
        await soon(alice.dial(bob.address, timeout=0.05))
    with pytest.raises(NetworkError, match="cannot send: no seed"):
        await soon(alice.send(bob.address, "hello", no_reply=True))
