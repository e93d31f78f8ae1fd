"""Peers that speak NCP by hand: what they do costs them their own session, and nobody else anything.

In each test alice, who is honest, sends bob a stream while mallory does his worst to bob; it must go on and
arrive to the last byte, and others must be able to dial bob after all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import ClosedError, DialTimeoutError
from nconnect.ncp import Config, Mode
from nconnect.ncp.packet import CLOSE, decode, encode_acks, encode_data, encode_handshake
from nconnect.ncp.packet_pb2 import Packet
from nconnect.ncp.sequence import MAX_SEQUENCE
from nconnect.nkn import sessions
from nconnect.nkn.client import SubClient
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.listener import Listener
from nconnect.nkn.messages import Payload, encode_session_payload
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.nkn.sources import Source
from nconnect.nkn.wire import varint

from .conftest import MakeClient, MakeDevnet
from .waiting import soon, until

PATHS = 4
NAMES = [f"__{index}__" for index in range(PATHS)]
WINDOW = 1 << 20
CONFIG = Config(mtu=1024, window_size=WINDOW, linger=0.2)
ID = b"mallory!"
CHUNK = bytes(range(256)) * 64
# Alice's pace is some MB/s: enough to notice when bob stands still, and it leaves him time for mallory.
PAUSE = 0.005
# What alice gets through at least while mallory is at it.
LEAST = 20 * len(CHUNK)


class Mallory(MultiClient):
    """Hears the packets of all sessions, answers none by itself, and says what he likes."""

    def __init__(self, devnet: Devnet, identifier: str) -> None:
        super().__init__(KeyPair.generate(), identifier, ClientConfig(seed_rpc=(devnet.rpc_url,)))
        self.heard: list[tuple[bytes, Packet]] = []
        self.answer: Callable[[bytes, Packet], Awaitable[None] | None] = lambda session_id, packet: None
        self._tasks: set[asyncio.Task[None]] = set()

    def _on_session_packet(self, client: SubClient, source: Source, payload: Payload) -> None:
        packet = decode(payload.data)
        self.heard.append((payload.message_id, packet))
        said = self.answer(payload.message_id, packet)
        if said is not None:
            task = asyncio.ensure_future(said)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def say(self, to: MultiClient, packet: bytes, session_id: bytes = ID, path: int = 0) -> None:
        """One packet, when the websocket takes it."""
        client = self._clients[path]
        while not client.usable:
            room: asyncio.Future[SubClient] = asyncio.get_running_loop().create_future()
            client.when_usable(room.set_result)
            await soon(room)
        payload = encode_session_payload(session_id, packet)
        client.send_session(f"{NAMES[path]}.{to.address}", payload, self.key.shared_key(to.key.public_key))

    async def dial_bob(
        self, bob: Bob, window: int = WINDOW, mtu: int = 1024, session_id: bytes = ID
    ) -> Session:
        """Bob's end of a session between the two."""
        await self.say(bob.client, encode_handshake(NAMES, window, mtu), session_id)
        return await soon(bob.accepted(self))


class Bob:
    """Accepts everybody: alice's stream is checked, what others dial is handed to the test."""

    def __init__(self, client: MultiClient, config: Config) -> None:
        self.client = client
        self.listener: Listener = client.listen(None, config)
        self._accepted: dict[str, asyncio.Queue[Session]] = {}
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        async for session in self.listener:
            self._queue(session.remote_address).put_nowait(session)

    def _queue(self, address: str) -> asyncio.Queue[Session]:
        return self._accepted.setdefault(address, asyncio.Queue())

    async def accepted(self, peer: MultiClient) -> Session:
        return await self._queue(peer.address).get()

    async def close(self) -> None:
        self.listener.close()
        await self._task


class Stream:
    """Alice's: counts what has arrived, and is checked at the end."""

    def __init__(self) -> None:
        self.arrived = 0
        self.over = False

    async def send(self, session: Session) -> str:
        digest = hashlib.sha256()
        while not self.over:
            await session.write(CHUNK)
            digest.update(CHUNK)
            await asyncio.sleep(PAUSE)
        await session.close()
        return digest.hexdigest()

    async def receive(self, session: Session) -> str:
        digest = hashlib.sha256()
        while data := await session.read(1 << 16):
            digest.update(data)
            self.arrived += len(data)
        return digest.hexdigest()

    async def more(self, size: int = LEAST) -> None:
        """Wait until so many more bytes have arrived."""
        goal = self.arrived + size
        await until(lambda: self.arrived >= goal)


@asynccontextmanager
async def honest(alice: MultiClient, bob: Bob) -> AsyncIterator[Stream]:
    """Alice's stream goes on as long as the context; then all of it has arrived, and she can dial again."""
    stream = Stream()
    dialled = await soon(alice.dial(bob.client.address, CONFIG))
    accepted = await soon(bob.accepted(alice))
    sending = asyncio.create_task(stream.send(dialled))
    receiving = asyncio.create_task(stream.receive(accepted))
    await stream.more()
    yield stream
    await stream.more()
    another = await soon(alice.dial(bob.client.address, CONFIG))
    (await soon(bob.accepted(alice))).abort()
    another.abort()
    stream.over = True
    assert await soon(sending) == await soon(receiving)


@pytest.fixture
async def devnet(make_devnet: MakeDevnet) -> Devnet:
    # Four clients and four nodes in one process: what nodes check is not the point here.
    return await make_devnet(verify_signatures=False)


@pytest.fixture
async def mallory(devnet: Devnet, stack: AsyncExitStack) -> Mallory:
    client = Mallory(devnet, "mallory")
    await stack.enter_async_context(client)
    await soon(client.wait_paths(PATHS))
    return client


@pytest.fixture
def bob_config() -> Config:
    """Tests may parametrise it."""
    return CONFIG


@pytest.fixture
async def bob(devnet: Devnet, make_client: MakeClient, bob_config: Config) -> AsyncIterator[Bob]:
    server = Bob(await make_client(devnet, "bob"), bob_config)
    yield server
    await server.close()


# --- what the peer acknowledges ---


async def test_acknowledges_what_was_never_sent(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob)
        await session.write(bytes(10_000))
        await until(lambda: session.stats.bytes_in_flight == 10_000)
        for ranges in ([(5000, 100)], [(MAX_SEQUENCE, 2**32 - 1)], [(1, 0)], [(11, 1 << 31), (2**31, 5)]):
            for path in range(PATHS):
                await mallory.say(bob.client, encode_acks(ranges, 2**64 - 1), path=path)
        await stream.more()
        stats = session.stats
        assert (stats.bytes_sent, stats.bytes_in_flight, stats.packets_received > 8) == (10_000, 10_000, True)
        # And what was sent counts as ever.
        await mallory.say(bob.client, encode_acks([(1, 10)], 10_000))
        await until(lambda: session.stats.bytes_in_flight == 0)
        await soon(session.close())


async def test_acknowledges_nothing(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob)
        writing = asyncio.create_task(session.write(bytes(10 * WINDOW)))
        await stream.more(4 * LEAST)
        assert session.stats.bytes_sent <= WINDOW
        assert session.stats.bytes_queued <= CONFIG.send_buffer
        await soon(session.close())
        with pytest.raises(ClosedError):
            await soon(writing)


@pytest.mark.parametrize("bob_config", [replace(CONFIG, dead_timeout=0.5)])
async def test_is_silent_while_data_waits(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob):
        session = await mallory.dial_bob(bob)
        with pytest.raises(ClosedError, match=r"silent for 0\.5 s"):
            await soon(session.write(bytes(10 * WINDOW)))
        assert len(bob.client._sessions) == 1


# --- what the peer announces ---


RAW_MTU_OF_2_32 = encode_handshake(NAMES, WINDOW, 0) + b"\x40" + varint(2**32)


@pytest.mark.parametrize(
    "handshake",
    [
        encode_handshake(NAMES, WINDOW, 0),
        RAW_MTU_OF_2_32,
        encode_handshake(NAMES, 0, 1024),
        encode_handshake([], WINDOW, 1024),
    ],
    ids=["MTU 0", "MTU 2^32", "window 0", "no sub-clients"],
)
async def test_announces_nothing_that_could_be(
    alice: MultiClient, bob: Bob, mallory: Mallory, handshake: bytes
) -> None:
    async with honest(alice, bob) as stream:
        for path in range(PATHS):
            await mallory.say(bob.client, handshake, path=path)
        await stream.more()
        assert len(bob.client._sessions) == 1
        # Nor when he is the one who answers.
        mallory.answer = lambda session_id, packet: mallory.say(bob.client, handshake, session_id)
        with pytest.raises(DialTimeoutError):
            await soon(bob.client.dial(mallory.address, timeout=0.3))
        assert len(bob.client._sessions) == 1


async def test_announces_more_than_there_is(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob):
        session = await mallory.dial_bob(bob, window=2**32 - 1, mtu=2**32 - 1)
        assert session.send_mtu == CONFIG.mtu
        await session.write(bytes(3000))
        await until(lambda: sum(len(packet.data) for _, packet in mallory.heard) >= 3000)
        assert max(len(packet.data) for _, packet in mallory.heard) == CONFIG.mtu
        # What he sends is measured by what bob announced.
        await mallory.say(bob.client, encode_data(1, bytes(CONFIG.mtu + 1)))
        await mallory.say(bob.client, encode_data(1, bytes(200_000)))
        await mallory.say(bob.client, encode_data(1, b"fits"))
        assert await soon(session.read(100)) == b"fits"
        session.abort()


async def test_announces_an_mtu_of_one(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    """Each byte costs bob a signature and a box: he must get round to other things in between."""
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob, window=2**32 - 1, mtu=1)

        async def acknowledge(session_id: bytes, packet: Packet) -> None:
            if packet.sequence_id:
                await mallory.say(bob.client, encode_acks([(packet.sequence_id, 1)], 0), session_id)

        mallory.answer = acknowledge
        writing = asyncio.create_task(session.write(bytes(4 * CONFIG.send_buffer)))
        await stream.more(4 * LEAST)
        assert not session.closed
        session.abort()
        with pytest.raises(ClosedError):
            await soon(writing)


# --- windows ---


async def test_fills_the_window_and_stops_reading(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob)

        async def acknowledge(session_id: bytes, packet: Packet) -> None:
            if packet.sequence_id:
                for path in range(PATHS):
                    await mallory.say(bob.client, encode_acks([(packet.sequence_id, 1)], 0), session_id, path)

        mallory.answer = acknowledge
        writing = asyncio.create_task(session.write(bytes(10 * WINDOW)))
        await until(lambda: session.stats.bytes_sent > WINDOW - CONFIG.mtu)
        await until(lambda: session.stats.bytes_in_flight == 0)
        await stream.more()
        assert session.stats.bytes_sent <= WINDOW
        assert session.stats.bytes_queued <= CONFIG.send_buffer
        assert not writing.done()
        await soon(session.close())
        with pytest.raises(ClosedError):
            await soon(writing)


async def test_sends_more_than_the_window(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob)
        for number in range(1, 2 * WINDOW // 1024):
            await mallory.say(bob.client, encode_data(number, bytes(1024)))
        await until(lambda: session.stats.refused)
        await stream.more()
        assert session.stats.bytes_received == WINDOW
        assert len(await soon(session.read(2 * WINDOW))) == WINDOW
        session.abort()


# --- handshakes ---


async def test_sends_the_handshake_twice(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob, mtu=500)
        for handshake in (
            encode_handshake(NAMES, WINDOW, 500),
            encode_handshake(NAMES, 1, 1),
            encode_handshake(NAMES, 2**32 - 1, 1024),
            encode_handshake(["__9__"], WINDOW, 0),
            encode_handshake([], 0, 0),
        ):
            for path in range(PATHS):
                await mallory.say(bob.client, handshake, path=path)
        await stream.more()
        assert session.send_mtu == 500
        assert len(session.stats.paths) == PATHS
        assert len(bob.client._sessions) == 2
        await mallory.say(bob.client, encode_data(1, b"as agreed"))
        assert await soon(session.read(100)) == b"as agreed"
        await session.write(bytes(500))
        await until(lambda: any(len(packet.data) == 500 for _, packet in mallory.heard))
        session.abort()


async def test_answers_the_handshake_twice(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async def answer(session_id: bytes, packet: Packet) -> None:
        if packet.handshake:
            await mallory.say(bob.client, encode_handshake(NAMES, WINDOW, 500), session_id)
            await mallory.say(bob.client, encode_handshake(NAMES, WINDOW, 1000), session_id)

    mallory.answer = answer
    async with honest(alice, bob) as stream:
        session = await soon(bob.client.dial(mallory.address, CONFIG))
        await stream.more()
        assert session.send_mtu == 500
        session.abort()


async def test_dials_again_what_was_closed(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob) as stream:
        session = await mallory.dial_bob(bob)
        await mallory.say(bob.client, CLOSE)
        await until(lambda: session.closed)
        for _ in range(10):
            await mallory.say(bob.client, encode_handshake(NAMES, WINDOW, 1024))
        await stream.more()
        assert len(bob.client._sessions) == 1


# --- many sessions ---


async def test_opens_ten_thousand_sessions(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    handshake = encode_handshake(NAMES, WINDOW, 1024)
    most = sessions.MAX_SESSIONS_PER_PEER

    def opened() -> int:
        return sum(session.remote_address == mallory.address for session in bob.client._sessions)

    async with honest(alice, bob) as stream:
        # As quickly as bob takes them, until he takes no more; then as quickly as they can be sent.
        for number in range(10_000):
            await mallory.say(bob.client, handshake, number.to_bytes(8, "big"), number % PATHS)
            if opened() < most:
                await until(lambda number=number: opened() + bob.client.dropped > number)  # type: ignore[misc]
            assert opened() <= most
        await until(lambda: opened() + bob.client.dropped == 10_000)
        await stream.more()
        assert opened() == most
        windows = {session_id: packet.window_size for session_id, packet in mallory.heard if packet.handshake}
        assert len(windows) == most
        assert sum(windows.values()) < most / 4 * WINDOW, "all that he can make bob keep"
        for _ in range(most):
            (await soon(bob.accepted(mallory))).abort()
        assert opened() == 0


@pytest.mark.parametrize("bob_config", [replace(CONFIG, keep_alive=0.2, dead_timeout=0.4)])
async def test_opens_sessions_and_says_no_more(alice: MultiClient, bob: Bob, mallory: Mallory) -> None:
    async with honest(alice, bob):
        opened = [await mallory.dial_bob(bob, session_id=number.to_bytes(8, "big")) for number in range(10)]
        idle = await soon(alice.dial(bob.client.address, CONFIG))
        kept = await soon(bob.accepted(alice))
        await until(lambda: all(session.closed for session in opened))
        with pytest.raises(ClosedError, match=r"silent for 0\.4 s"):
            await opened[0].read(1)
        # Alice says as little there, but is there.
        await idle.write(b"hello")
        assert await soon(kept.read(5)) == b"hello"
        await soon(idle.close())
        await until(lambda: len(bob.client._sessions) == 1)


@pytest.mark.parametrize("bob_config", [replace(CONFIG, mode=Mode.STREAM, keep_alive=0.1, dead_timeout=0.5)])
async def test_a_client_that_is_gone_leaves_no_session(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: Bob
) -> None:
    """Its process was killed: no close was sent."""
    async with honest(alice, bob):
        gone = await make_client(devnet, "gone")
        for _ in range(3):
            await soon(gone.dial(bob.client.address, CONFIG))
        left = [await soon(bob.accepted(gone)) for _ in range(3)]
        for client in gone._clients:
            await client.close()
        await until(lambda: all(session.closed for session in left))
        assert len(bob.client._sessions) == 1
