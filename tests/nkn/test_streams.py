"""Sessions of two MultiClients as asyncio streams, over a devnet."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import ClosedError, DialTimeoutError, UsageError
from nconnect.ncp import Config, Mode
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.streams import Server, SessionTransport

from .conftest import MakeClient
from .waiting import soon, until

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

# Little enough that a peer that does not read is felt soon.
SMALL = Config(mtu=16 * 1024, window_size=64 * 1024, send_buffer=64 * 1024)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


async def pair(alice: MultiClient, bob: MultiClient, config: Config | None = None) -> tuple[Streams, Streams]:
    """Both ends of a connection; the acceptor's lasts as long as the dialler's, or until it is closed."""
    accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))
        await writer.wait_closed()

    server = await bob.start_server(keep, config=config)
    dialled = await soon(alice.open_connection(bob.address, config))
    streams = dialled, await soon(accepted)
    server.close()
    return streams


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await soon(writer.wait_closed())


# --- data ---


async def test_lines_are_echoed(alice: MultiClient, bob: MultiClient) -> None:
    async with await bob.start_server(echo):
        reader, writer = await soon(alice.open_connection(bob.address))
        assert isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter)
        assert writer.get_extra_info("peername") == bob.address
        assert writer.get_extra_info("session").remote_public_key == bob.key.public_key
        for line in (b"one\n", "zwei, drei, äh\n".encode(), b"x" * 60_000 + b"\n"):
            writer.write(line)
            await soon(writer.drain())
            assert await soon(reader.readline()) == line
        writer.writelines([b"fo", bytearray(b"ur"), memoryview(b"\n")])
        assert await soon(reader.readexactly(5)) == b"four\n"
        await close(writer)
        assert len(alice._sessions) == 0


async def test_five_megabytes_each_way(alice: MultiClient, bob: MultiClient) -> None:
    (reader, writer), (far_reader, far_writer) = await pair(alice, bob)
    data, far_data = (random.Random(seed).randbytes(5_000_000) for seed in (1, 2))

    async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
        for start in range(0, len(data), 50_000):
            writer.write(data[start : start + 50_000])
            await writer.drain()

    async def digest(reader: asyncio.StreamReader) -> str:
        digest, left = hashlib.sha256(), 5_000_000
        while left:
            chunk = await reader.read(min(left, 100_000))
            assert chunk
            digest.update(chunk)
            left -= len(chunk)
        return digest.hexdigest()

    _, _, got, far_got = await soon(
        asyncio.gather(send(writer, data), send(far_writer, far_data), digest(reader), digest(far_reader))
    )
    assert got == hashlib.sha256(far_data).hexdigest()
    assert far_got == hashlib.sha256(data).hexdigest()
    await close(writer)


async def test_a_buffer_may_change_after_it_was_written(alice: MultiClient, bob: MultiClient) -> None:
    (_, writer), (far_reader, _) = await pair(alice, bob)
    buffer = bytearray(b"before")
    writer.write(buffer)
    buffer[:] = b"after!"
    assert await soon(far_reader.readexactly(6)) == b"before"
    await close(writer)


# --- back-pressure ---


async def test_a_peer_that_does_not_read_stops_drain(alice: MultiClient, bob: MultiClient) -> None:
    (_, writer), (far_reader, far_writer) = await pair(alice, bob, SMALL)
    far = far_writer.transport
    assert isinstance(far, SessionTransport)
    size = 3_000_000
    writer.write(bytes(size))
    draining = asyncio.create_task(writer.drain())
    await until(lambda: not far.is_reading())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.shield(draining)
    assert far.get_extra_info("session").stats.bytes_received < size / 2
    await soon(far_reader.readexactly(size))
    await soon(draining)
    assert writer.transport.get_write_buffer_size() == 0
    await close(writer)


async def test_the_marks_say_when_drain_waits(alice: MultiClient, bob: MultiClient) -> None:
    (_, writer), (far_reader, _) = await pair(alice, bob)
    transport = writer.transport
    assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    transport.set_write_buffer_limits(low=10)
    assert transport.get_write_buffer_limits() == (10, 40)
    transport.set_write_buffer_limits(high=0)
    writer.write(b"x")
    assert transport.get_write_buffer_size() == 1
    await soon(writer.drain())
    assert transport.get_write_buffer_size() == 0
    with pytest.raises(UsageError, match="high >= low"):
        transport.set_write_buffer_limits(high=1, low=2)
    assert await soon(far_reader.readexactly(1)) == b"x"
    await close(writer)


# --- the end ---


async def test_the_dialler_closes(alice: MultiClient, bob: MultiClient) -> None:
    (reader, writer), (far_reader, far_writer) = await pair(alice, bob)
    data = random.Random(3).randbytes(2_000_000)
    writer.write(data)
    writer.close()
    assert writer.is_closing()
    writer.write(b"too late")
    assert await soon(far_reader.read()) == data
    await soon(writer.wait_closed())
    assert await soon(reader.read()) == b""
    await soon(far_writer.wait_closed())
    far_writer.write(b"nobody hears this")
    for end in (writer, far_writer):
        with pytest.raises(ConnectionResetError):
            await soon(end.drain())
        await close(end)
    assert len(alice._sessions) == len(bob._sessions) == 0


async def test_the_acceptor_closes(alice: MultiClient, bob: MultiClient) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # No close(): the connection ends with its handler.
        writer.write(b"good bye\n")

    async with await bob.start_server(greet):
        reader, writer = await soon(alice.open_connection(bob.address))
        assert await soon(reader.read()) == b"good bye\n"
        assert reader.at_eof()
        await soon(writer.wait_closed())


async def test_both_close_with_data_unread(alice: MultiClient, bob: MultiClient) -> None:
    (_, writer), (_, far_writer) = await pair(alice, bob)
    for end in (writer, far_writer):
        end.write(bytes(300_000))
        await soon(end.drain())
    writer.close()
    far_writer.close()
    await soon(asyncio.gather(writer.wait_closed(), far_writer.wait_closed(), return_exceptions=True))


async def test_who_writes_to_a_peer_that_has_closed_learns_it(alice: MultiClient, bob: MultiClient) -> None:
    (reader, writer), (_, far_writer) = await pair(alice, bob, SMALL)
    far_writer.write(b"enough")
    writer.write(bytes(3_000_000))
    draining = asyncio.create_task(writer.drain())
    await soon(far_writer.drain())
    far_writer.close()
    with pytest.raises(ConnectionResetError):
        await soon(draining)
    with pytest.raises(ConnectionResetError):
        await soon(writer.wait_closed())
    # What it said before is not lost by that.
    assert await soon(reader.read()) == b"enough"


async def test_a_close_that_nobody_reads_is_an_error(alice: MultiClient, bob: MultiClient) -> None:
    config = Config(mtu=16 * 1024, window_size=64 * 1024, linger=0.1)
    (_, writer), (far_reader, _) = await pair(alice, bob, config)
    writer.write(bytes(400_000))
    await soon(writer.drain())
    writer.close()
    with pytest.raises(ConnectionResetError, match="unacknowledged") as caught:
        await soon(writer.wait_closed())
    assert isinstance(caught.value.__cause__, ClosedError)
    assert len(await soon(far_reader.read())) < 400_000


async def test_abort_ends_it_at_once(alice: MultiClient, bob: MultiClient) -> None:
    (reader, writer), (far_reader, _) = await pair(alice, bob, SMALL)
    writer.write(bytes(3_000_000))
    writer.transport.abort()
    await soon(writer.wait_closed())
    assert await soon(reader.read()) == b""
    assert len(await soon(far_reader.read())) < 3_000_000


async def test_a_client_that_closes_ends_its_streams(
    devnet: Devnet, make_client: MakeClient, bob: MultiClient
) -> None:
    async with await bob.start_server(echo) as server:
        alice = await make_client(devnet)
        reader, writer = await soon(alice.open_connection(bob.address))
        writer.write(b"hello\n")
        assert await soon(reader.readline()) == b"hello\n"
        await soon(alice.close())
        assert await soon(reader.read()) == b""
        await soon(writer.wait_closed())
        await soon(bob.close())
        await soon(server.serve_forever())
        assert not server.is_serving()


async def test_there_is_no_half_close(alice: MultiClient, bob: MultiClient) -> None:
    (_, writer), _ = await pair(alice, bob)
    assert not writer.can_write_eof()
    with pytest.raises(NotImplementedError, match="half-close"):
        writer.write_eof()
    await close(writer)


async def test_a_stream_is_no_session_of_messages(alice: MultiClient) -> None:
    config = Config(mode=Mode.MESSAGE)
    with pytest.raises(UsageError, match="stream mode"):
        await alice.open_connection(alice.address, config)
    with pytest.raises(UsageError, match="stream mode"):
        await alice.start_server(echo, config=config)


# --- the server ---


async def test_only_who_is_wanted_is_served(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    eve = await make_client(devnet, "eve")
    async with await bob.start_server(echo, accept=[alice.key.public_key.hex() + "$"]):
        with pytest.raises(DialTimeoutError):
            await soon(eve.open_connection(bob.address, timeout=0.3))
        reader, writer = await soon(alice.open_connection(bob.address))
        writer.write(b"it is me\n")
        assert await soon(reader.readline()) == b"it is me\n"
        await close(writer)


async def test_a_handler_that_raises_costs_its_connection(
    alice: MultiClient, bob: MultiClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def fragile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"%d\n" % (100 // int(line)))

    caplog.set_level(logging.INFO)
    async with await bob.start_server(fragile):
        reader, writer = await soon(alice.open_connection(bob.address))
        other_reader, other_writer = await soon(alice.open_connection(bob.address))
        writer.write(b"0\n")
        assert await soon(reader.read()) == b""
        other_writer.write(b"50\n")
        assert await soon(other_reader.readline()) == b"2\n"
        await close(writer)
        await close(other_writer)
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert record.name == "nconnect.nkn.streams"
    assert "ZeroDivisionError" in record.getMessage() and "\n" not in record.getMessage()
    assert record.exc_info is None


async def test_connections_outlive_a_closed_server_but_not_its_block(
    alice: MultiClient, bob: MultiClient
) -> None:
    server: Server
    async with await bob.start_server(echo) as server:
        reader, writer = await soon(alice.open_connection(bob.address))
        server.close()
        with pytest.raises(DialTimeoutError):
            await soon(alice.open_connection(bob.address, timeout=0.3))
        closed = asyncio.create_task(server.wait_closed())
        writer.write(b"still there?\n")
        assert await soon(reader.readline()) == b"still there?\n"
        assert not closed.done()
    assert await soon(reader.read()) == b""
    await soon(closed)
    # Another may listen now.
    async with await bob.start_server(echo):
        reader, writer = await soon(alice.open_connection(bob.address))
        await close(writer)
