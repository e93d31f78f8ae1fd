"""One websocket at a node: slow readers, floods, broken frames, silence."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack

import pytest

from nconnect.devnet import Devnet, client
from nconnect.devnet.client import MAX_BACKLOG
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.messages import encode_set_client

from .conftest import MakeClient, MakeDevnet
from .raw_client import TIMEOUT

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class RawSocket:
    """A websocket whose frames the test writes itself (RFC 6455)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, devnet: Devnet, stack: AsyncExitStack) -> RawSocket:
        reader, writer = await asyncio.open_connection("127.0.0.1", devnet.nodes[0].port)
        stack.callback(writer.close)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        socket = cls(reader, writer)
        opcode, _ = await socket.receive()
        assert opcode == TEXT
        return socket

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        async with asyncio.timeout(TIMEOUT):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2))
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)

    async def receive_text(self) -> dict[str, object]:
        opcode, payload = await self.receive()
        assert opcode == TEXT
        text: dict[str, object] = json.loads(payload)
        return text

    async def receive_close(self) -> int:
        """The code of the close frame, after which nothing may come but the end."""
        opcode, payload = await self.receive()
        assert opcode == CLOSE
        async with asyncio.timeout(TIMEOUT):
            await self.reader.read()
        return int.from_bytes(payload[:2])


def frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A frame from a client, masked with zeros."""
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65_536:
        head += b"\xfe" + len(payload).to_bytes(2)
    else:
        head += b"\xff" + len(payload).to_bytes(8)
    return head + bytes(4) + payload


@pytest.fixture
async def devnet(make_devnet: MakeDevnet) -> Devnet:
    return await make_devnet(nodes=1)


@pytest.fixture
async def socket(devnet: Devnet, stack: AsyncExitStack) -> RawSocket:
    return await RawSocket.open(devnet, stack)


async def still_works(devnet: Devnet, make_client: MakeClient) -> None:
    alice, bob = make_client(1), make_client(2)
    await alice.join(devnet)
    await bob.join(devnet)
    await alice.send(bob.address, b"still here")
    assert (await bob.receive()).payload == b"still here"


class TestSlowReaders:
    async def test_much_is_buffered_then_messages_are_dropped_whole(
        self, devnet: Devnet, make_client: MakeClient
    ) -> None:
        alice, bob = make_client(1), make_client(2)
        await alice.join(devnet)
        await bob.join(devnet)
        # bob does not read; what the kernel and aiohttp take for him comes on top of the node's buffer.
        count = 300
        for i in range(count):
            await alice.send(bob.address, i.to_bytes(4) + bytes(131_072))
        await alice.barrier()
        assert devnet.stats.slow_reader > 0
        assert devnet.stats.delivered + devnet.stats.slow_reader == count
        assert MAX_BACKLOG / 2 < backlog(devnet) <= MAX_BACKLOG
        # What he gets when he reads again is whole, in order, and the beginning.
        for i in range(devnet.stats.delivered):
            assert (await bob.receive()).payload == i.to_bytes(4) + bytes(131_072)
        await alice.send(bob.address, b"after")
        assert (await bob.receive()).payload == b"after"

    async def test_a_slow_reader_does_not_hold_up_others(
        self, devnet: Devnet, make_client: MakeClient
    ) -> None:
        alice, bob, carol = make_client(1), make_client(2), make_client(3)
        for who in (alice, bob, carol):
            await who.join(devnet)
        for i in range(200):
            await alice.send(bob.address, bytes(131_072))
            await alice.send(carol.address, b"%d" % i)
            assert (await carol.receive()).payload == b"%d" % i

    async def test_the_backlog_of_all_clients_together_is_bounded(
        self, devnet: Devnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_TOTAL_BACKLOG", 5_000_000)
        alice, *others = (make_client(seed) for seed in range(1, 5))
        for who in (alice, *others):
            await who.join(devnet)
        for _ in range(150):
            await alice.send([who.address for who in others], bytes(131_072))
        await alice.barrier()
        assert backlog(devnet) <= 5_000_000 + len(others) * client.HIGH_WATER

    async def test_a_client_that_does_not_read_is_cut_off(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1, ping_interval=0.2, silence_timeout=0.6)
        alice, bob = make_client(1), make_client(2)
        await alice.join(devnet)
        await bob.join(devnet)
        for _ in range(150):
            await alice.send(bob.address, bytes(131_072))
        # He is heard all the time, and alice, who reads, stays.
        async with asyncio.timeout(TIMEOUT):
            while not devnet.stats.dropped_clients:
                await bob.send_json({"Action": "anybody there?"})
                await alice.barrier()
        await alice.barrier()
        assert len(devnet.nodes[0].connections) == 1
        assert backlog(devnet) == 0


def backlog(devnet: Devnet) -> int:
    return sum(client.backlog for client in devnet.nodes[0].connections)


class TestLiveness:
    async def test_clients_are_pinged_and_dropped_when_silent(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1, ping_interval=0.1, silence_timeout=0.3)
        mute, alive = make_client(1), make_client(2)
        await alive.join(devnet)
        await mute.connect(devnet, autoping=False)
        listening = asyncio.create_task(alive.receive_close())
        await mute.receive_close()
        assert devnet.stats.dropped_clients == 1
        # Answering pings is enough to stay.
        assert not listening.done()
        assert len(devnet.nodes[0].connections) == 1
        listening.cancel()

    async def test_pings_are_answered(self, socket: RawSocket) -> None:
        socket.writer.write(frame(PING, b"are you there"))
        assert await socket.receive() == (PONG, b"are you there")

    @pytest.mark.parametrize(
        ("payload", "answer"),
        [
            ((1000).to_bytes(2) + b"bye", 1000),
            ((4999).to_bytes(2), 4999),
            (b"", 0),
            (b"x", 1002),
            ((5).to_bytes(2), 1002),
            ((1000).to_bytes(2) + b"\xff", 1007),
        ],
    )
    async def test_a_close_is_answered(
        self, socket: RawSocket, devnet: Devnet, payload: bytes, answer: int
    ) -> None:
        socket.writer.write(frame(CLOSE, payload))
        assert await socket.receive_close() == answer
        assert not devnet.nodes[0].connections

    async def test_unknown_frame_types_end_the_connection(self, socket: RawSocket) -> None:
        socket.writer.write(frame(3, b"reserved"))
        assert await socket.receive_close() == 1002


class TestFloods:
    async def test_pings_without_reading(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_BACKLOG", 2_000_000)
        (victim,) = devnet.nodes[0].connections
        for _ in range(10):
            socket.writer.write(frame(PING, bytes(125)) * 10_000)
            await socket.writer.drain()
        await still_works(devnet, make_client)
        assert victim.backlog <= 2_000_000

    async def test_garbage_texts_without_reading(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_BACKLOG", 2_000_000)
        (victim,) = devnet.nodes[0].connections
        for _ in range(10):
            socket.writer.write(frame(TEXT, b"{") * 10_000)
            await socket.writer.drain()
        await still_works(devnet, make_client)
        assert victim.backlog <= 2_000_000

    async def test_messages_to_oneself_without_reading(self, devnet: Devnet, make_client: MakeClient) -> None:
        alice = make_client(3)
        await alice.join(devnet)
        flood = alice.encode(alice.address, os.urandom(100_000))
        for _ in range(400):
            await alice.websocket.send_bytes(flood)
        await still_works(devnet, make_client)
        assert backlog(devnet) <= MAX_BACKLOG

    async def test_a_large_message_to_ten_thousand(self, devnet: Devnet, make_client: MakeClient) -> None:
        alice, bob = make_client(3), make_client(4)
        await alice.join(devnet)
        await bob.join(devnet)
        message = pb.OutboundMessage(
            dests=[bob.address] * 10_000,
            signatures=[bytes(64)] * 10_000,
            payloads=[bytes(2_500_000)],
            max_holding_seconds=60,
        )
        await alice.websocket.send_bytes(
            pb.ClientMessage(message=message.SerializeToString()).SerializeToString()
        )
        await still_works(devnet, make_client)
        assert devnet.stats.delivered + devnet.stats.slow_reader == 10_001
        assert backlog(devnet) <= MAX_BACKLOG


class TestBrokenFrames:
    async def test_a_frame_above_4_mib_ends_the_connection(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient
    ) -> None:
        socket.writer.write(frame(BINARY, bytes(4 * 1024 * 1024 + 1))[:1000])
        assert await socket.receive_close() in (1002, 1009)
        await still_works(devnet, make_client)

    async def test_fragments_above_4_mib_together_end_the_connection(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient
    ) -> None:
        socket.writer.write(frame(BINARY, bytes(3_000_000), fin=False))
        socket.writer.write(frame(0, bytes(3_000_000), fin=False))
        assert await socket.receive_close() == 1009
        await still_works(devnet, make_client)

    async def test_fragments_out_of_order_end_the_connection(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient
    ) -> None:
        socket.writer.write(frame(0, b"continues what?"))
        assert await socket.receive_close() == 1002
        await still_works(devnet, make_client)

    async def test_a_message_inside_a_fragmented_one_ends_the_connection(
        self, socket: RawSocket, devnet: Devnet
    ) -> None:
        socket.writer.write(frame(BINARY, b"begins", fin=False) + frame(TEXT, b"{}"))
        assert await socket.receive_close() == 1002

    async def test_random_bytes_end_the_connection(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient
    ) -> None:
        socket.writer.write(b"\x7f" * 1000)
        assert await socket.receive_close() == 1002
        await still_works(devnet, make_client)

    async def test_messages_in_fragments_are_put_together(
        self, socket: RawSocket, devnet: Devnet, make_client: MakeClient
    ) -> None:
        alice = make_client(1)
        text = encode_set_client(alice.address, alice.key, None).encode()
        socket.writer.write(frame(TEXT, text[:10], fin=False) + frame(PING, b"between"))
        assert await socket.receive() == (PONG, b"between")
        socket.writer.write(frame(0, text[10:20], fin=False) + frame(0, text[20:]))
        assert (await socket.receive_text())["Error"] == 0
        bob = make_client(2)
        await bob.join(devnet)
        alice.node = bob.node
        message = alice.encode(bob.address, b"in two parts")
        socket.writer.write(frame(BINARY, message[:50], fin=False) + frame(0, message[50:]))
        assert (await bob.receive()).payload == b"in two parts"
