"""Sessions of two MultiClients over a devnet: streams, their ends, and peers that disturb them."""

from __future__ import annotations

import asyncio
import hashlib
import random

import pytest
import uvloop

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.errors import ClosedError
from nconnect.ncp import Config, Mode
from nconnect.ncp.packet import encode_handshake
from nconnect.nkn import sessions
from nconnect.nkn.client import State
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Payload, PayloadType
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session

from .conftest import MakeClient, MakeDevnet
from .pairs import STREAM, connect, send_all, some_bytes
from .waiting import PATIENCE, soon, until


async def test_both_ends_know_each_other(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    assert dialled.id == accepted.id
    assert (dialled.remote_address, dialled.remote_public_key) == (bob.address, bob.key.public_key)
    assert (accepted.remote_address, accepted.remote_public_key) == (alice.address, alice.key.public_key)
    assert dialled.send_mtu == accepted.send_mtu == STREAM.mtu
    assert len(dialled.stats.paths) == len(accepted.stats.paths) == 4


async def test_a_session_knows_its_paths(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1)
    few, bob = await make_client(devnet, sub_clients=1, original=True), await make_client(devnet)
    dialled, accepted = await connect(few, bob)
    assert [(path.index, path.ready) for path in dialled.paths] == [(-1, True), (0, True)]
    assert [path.ready for path in accepted.paths] == [True, True]
    await devnet.stop_node(0)
    await until(lambda: not any(path.ready for path in dialled.paths))
    assert [path.index for path in dialled.paths] == [-1, 0]
    await devnet.start_node(0)
    await until(lambda: all(path.ready for path in dialled.paths))
    absent = KeyPair.generate().public_key.hex()
    dialling = asyncio.create_task(few.dial(absent, timeout=PATIENCE))
    await until(lambda: len(few._sessions) == 2)
    assert [session.paths for session in few._sessions if session is not dialled] == [()]
    dialling.cancel()


async def test_a_stream_both_ways_at_once(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    to_bob, to_alice = some_bytes(5_000_000, 1), some_bytes(5_000_000, 2)

    async def read(session: Session, size: int) -> str:
        digest = hashlib.sha256()
        while size:
            chunk = await session.read(100_000)
            assert chunk
            digest.update(chunk)
            size -= len(chunk)
        return digest.hexdigest()

    _, _, got_bob, got_alice = await soon(
        asyncio.gather(
            dialled.write(to_bob),
            accepted.write(to_alice),
            read(accepted, len(to_bob)),
            read(dialled, len(to_alice)),
        )
    )
    assert got_bob == hashlib.sha256(to_bob).hexdigest()
    assert got_alice == hashlib.sha256(to_alice).hexdigest()


async def test_the_end_of_a_stream(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    await dialled.write(b"hello")
    assert await soon(accepted.read(3)) == b"hel"
    closing = asyncio.create_task(dialled.close())
    assert await soon(accepted.read()) == b"lo"
    await soon(closing)
    assert dialled.closed
    assert await soon(accepted.read(10)) == b""
    assert await soon(dialled.read()) == b""
    for session in (dialled, accepted):
        with pytest.raises(ClosedError, match="is closed"):
            await session.write(b"more")
        await soon(session.close())
        session.abort()
    assert len(alice._sessions) == len(bob._sessions) == 0


async def test_a_session_ends_with_its_block(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    reading = asyncio.create_task(accepted.read())
    async with dialled:
        await dialled.write(b"orderly")
    assert await soon(reading) == b"orderly"
    dialled, accepted = await connect(alice, bob)
    with pytest.raises(RuntimeError):
        async with dialled:
            raise RuntimeError
    assert dialled.closed
    assert await soon(accepted.read()) == b""


async def test_a_reader_that_stops_stops_the_writer(alice: MultiClient, bob: MultiClient) -> None:
    window = 1 << 20
    config = Config(mtu=64 * 1024, window_size=window, send_buffer=1 << 18)
    dialled, accepted = await connect(alice, bob, config)
    data = some_bytes(4 << 20, 3)
    writing = asyncio.create_task(dialled.write(data))
    reads = b""
    await until(lambda: accepted.stats.bytes_received == window)
    sent = dialled.stats.bytes_sent
    assert sent == window, "no more than the window is under way"
    assert not writing.done()
    while len(reads) < len(data):
        reads += await soon(accepted.read(1 << 16))
        assert dialled.stats.bytes_sent <= len(reads) + window
    await soon(writing)
    assert reads == data


async def test_a_node_dies_in_the_middle(devnet: Devnet, alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob)
    data = some_bytes(20_000_000, 4)
    writing = asyncio.create_task(send_all(dialled, data))
    got = [await soon(accepted.read(1 << 20))]
    await devnet.stop_node(0)
    got.append(await soon(accepted.read()))
    assert b"".join(got) == data
    await soon(writing)


async def test_all_nodes_die_and_come_back(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1)
    alice, bob = await make_client(devnet, "alice"), await make_client(devnet, "bob")
    dialled, accepted = await connect(alice, bob)
    await dialled.write(b"before")
    assert await soon(accepted.read(6)) == b"before"
    await devnet.stop_node(0)
    await dialled.write(b"during")
    await until(lambda: all(path.state is not State.READY for path in alice.paths + bob.paths))
    await devnet.start_node(0)
    assert await soon(accepted.read(6)) == b"during"


async def test_sessions_share_a_narrow_path(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1, rate_mbit=50.0)
    alice = await make_client(devnet, "alice", sub_clients=1)
    bob = await make_client(devnet, "bob", sub_clients=1)
    pairs = [await connect(alice, bob) for _ in range(5)]
    data = some_bytes(600_000, 10)
    writing = [asyncio.create_task(send_all(dialled, data)) for dialled, _ in pairs]
    for got in await soon(asyncio.gather(*(accepted.read() for _, accepted in pairs))):
        assert got == data
    await soon(asyncio.gather(*writing))


@pytest.mark.parametrize("mode", list(Mode))
async def test_a_bad_network(make_devnet: MakeDevnet, make_client: MakeClient, mode: Mode) -> None:
    devnet = await make_devnet(loss_pct=3.0, latency_ms=5.0, jitter_ms=4.0, seed=7, verify_signatures=False)
    alice, bob = await make_client(devnet, "alice"), await make_client(devnet, "bob")
    dialled, accepted = await connect(alice, bob, Config(mode=mode, mtu=8 * 1024))
    data = some_bytes(1_000_000, 5)
    if mode is Mode.STREAM:
        writing = asyncio.create_task(send_all(dialled, data))
        assert await soon(accepted.read()) == data
        await soon(writing)
        return
    parts = [data[start : start + 8000] for start in range(0, len(data), 8000)]

    async def send() -> None:
        for part in parts:
            await dialled.send(part)

    sending = asyncio.create_task(send())
    got = [await soon(accepted.receive()) for _ in parts]
    await soon(sending)
    assert (got if mode is Mode.MESSAGE else sorted(got)) == (
        parts if mode is Mode.MESSAGE else sorted(parts)
    )


def test_on_uvloop() -> None:
    async def scenario() -> bytes:
        async with Devnet(DevnetConfig(listen="127.0.0.1:0")) as devnet:
            config = ClientConfig(seed_rpc=(devnet.rpc_url,))
            alice, bob = (MultiClient(KeyPair.generate(), name, config) for name in ("alice", "bob"))
            async with alice, bob:
                await asyncio.gather(alice.wait_paths(4), bob.wait_paths(4))
                dialled, accepted = await connect(alice, bob)
                writing = asyncio.create_task(send_all(dialled, some_bytes(3_000_000, 9)))
                got = await accepted.read()
                await writing
                return got

    assert uvloop.run(soon(scenario())) == some_bytes(3_000_000, 9)


async def test_a_peer_that_missed_the_close_is_told_when_it_speaks(
    alice: MultiClient, bob: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CLOSE_INTERVAL", 0.05)
    dialled, accepted = await connect(alice, bob)
    with monkeypatch.context() as cut:
        for client in bob._clients:
            cut.setattr(client, "send_session", lambda *lost: None)
        accepted.abort()
    await asyncio.sleep(sessions.CLOSE_INTERVAL)
    assert not dialled.closed
    await dialled.write(b"anybody there?")
    await until(lambda: dialled.closed)


# --- hostile peers ---


async def send_packet(client: MultiClient, to: MultiClient, session_id: bytes, packet: bytes) -> None:
    payload = Payload(PayloadType.SESSION, packet, session_id)
    await client._send([to.address], payload, encrypt=True)


async def test_garbage_on_a_session_costs_only_itself(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    dialled, accepted = await connect(alice, bob)
    mallory = await make_client(devnet, "mallory")
    rng = random.Random(8)
    for _ in range(50):
        garbage = rng.randbytes(rng.randrange(100))
        await send_packet(alice, bob, dialled.id, garbage)
        await send_packet(mallory, bob, dialled.id, garbage)
    # Closing or answering another's session is not possible either.
    await send_packet(mallory, bob, dialled.id, b"\x48\x01")
    payload = Payload(PayloadType.SESSION, b"\x48\x01", dialled.id)
    await alice._send([bob.address], payload, encrypt=False)
    writing = asyncio.create_task(send_all(dialled, b"unharmed" * 1000))
    assert await soon(accepted.read()) == b"unharmed" * 1000
    await soon(writing)


async def test_many_dials_of_one_peer(
    alice: MultiClient, bob: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MAX_DIALS_PER_PEER", 5)
    listener = bob.listen(None)
    handshake = encode_handshake(["__0__"], 1 << 20, 1024)
    for number in range(20):
        await send_packet(alice, bob, number.to_bytes(8, "big"), handshake)
    await alice.send(bob.address, "marker", no_reply=True)
    await soon(anext(bob))
    await until(lambda: bob.dropped >= 15)
    for _ in range(5):
        (await soon(listener.accept())).abort()
    assert len(bob._sessions._dials) == 0


async def test_a_peer_that_names_no_sub_clients(
    alice: MultiClient, bob: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = bob.listen(None)
    # Were it taken for a sub-client's name, the answers would go to whom mallory likes.
    handshake = encode_handshake([f"victim.{'ab' * 32}", "x" * 3000], 1 << 20, 1024)
    await send_packet(alice, bob, b"12345678", handshake)
    session = await soon(listener.accept())
    sent: list[str] = []
    for client in bob._clients:
        monkeypatch.setattr(client, "send_session", lambda dest, *rest: sent.append(dest))
    await session.write(b"data")
    assert sent == []
    session.abort()
    assert all(dest.endswith(alice.address) and len(dest) < 100 for dest in sent)
