"""A pipe between a TCP connection and a channel, however either behaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nconnect.errors import ClosedError
from nconnect.forward import pipe as module
from nconnect.forward.pipe import pipe

from ..nkn.waiting import soon
from .program import Streams


class FakeChannel:
    """What the far side does is what the test says."""

    def __init__(self, *, half_close: bool) -> None:
        self.half_close = half_close
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        """What is read next; None: the channel breaks."""
        self.written = b""
        self.ended = asyncio.Event()
        self.aborted = False

    async def read(self, n: int) -> bytes:
        data = await self.incoming.get()
        if data is None:
            raise ClosedError("broken")
        return data

    async def write(self, data: bytes) -> None:
        self.written += data

    async def write_eof(self) -> None:
        self.ended.set()
        if not self.half_close:
            self.incoming.put_nowait(b"")

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Streams, Streams]]:
    """A TCP connection: the program's end, and ours."""
    accepted: asyncio.Queue[Streams] = asyncio.Queue()
    server = await asyncio.start_server(lambda *streams: accepted.put_nowait(streams), "127.0.0.1", 0)
    program = await asyncio.open_connection(*server.sockets[0].getsockname())
    ours = await accepted.get()
    yield program, ours
    program[1].close()
    server.close()


async def test_half_close_is_handed_on(ends: tuple[Streams, Streams]) -> None:
    (reader, writer), ours = ends
    channel = FakeChannel(half_close=True)
    running = asyncio.create_task(pipe(*ours, channel))
    writer.write(b"question")
    writer.write_eof()
    await soon(channel.ended.wait())
    assert channel.written == b"question"
    channel.incoming.put_nowait(b"answer")
    assert await soon(reader.readexactly(6)) == b"answer"
    assert not running.done()
    channel.incoming.put_nowait(b"")
    assert await soon(reader.read()) == b""
    await soon(running)


@pytest.mark.parametrize("who", ["program", "peer"])
async def test_without_half_close_the_first_end_is_that_of_both(
    ends: tuple[Streams, Streams], who: str
) -> None:
    (reader, writer), ours = ends
    channel = FakeChannel(half_close=False)
    running = asyncio.create_task(pipe(*ours, channel))
    if who == "program":
        writer.write_eof()
    else:
        channel.incoming.put_nowait(b"")
    assert await soon(reader.read()) == b""
    await soon(running)


async def test_a_channel_that_breaks_is_a_reset(ends: tuple[Streams, Streams]) -> None:
    (reader, _), ours = ends
    channel = FakeChannel(half_close=True)
    running = asyncio.create_task(pipe(*ours, channel))
    channel.incoming.put_nowait(b"half")
    assert await soon(reader.readexactly(4)) == b"half"
    channel.incoming.put_nowait(None)
    with pytest.raises(ConnectionResetError):
        await soon(reader.read())
    await soon(running)


@pytest.mark.parametrize("half_close", [True, False])
async def test_a_program_that_breaks_off_breaks_the_channel(
    ends: tuple[Streams, Streams], half_close: bool
) -> None:
    (_, writer), ours = ends
    channel = FakeChannel(half_close=half_close)
    running = asyncio.create_task(pipe(*ours, channel))
    writer.write(b"hello")
    await asyncio.sleep(0)
    module.reset(writer)
    await soon(running)
    assert channel.aborted
    assert not channel.ended.is_set()


async def test_a_pipe_that_is_cancelled_is_a_reset(ends: tuple[Streams, Streams]) -> None:
    (reader, _), ours = ends
    channel = FakeChannel(half_close=True)
    running = asyncio.create_task(pipe(*ours, channel))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(ConnectionResetError):
        await soon(reader.read())
    assert channel.aborted


async def test_a_program_that_does_not_read_is_not_waited_for_for_ever(
    ends: tuple[Streams, Streams], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end has come, and the last bytes do not fit into its window."""
    monkeypatch.setattr(module, "FLUSH_TIMEOUT", 0.1)
    (reader, writer), ours = ends
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    ours[1].transport.set_write_buffer_limits(high=64 << 20)
    channel = FakeChannel(half_close=True)
    running = asyncio.create_task(pipe(*ours, channel))
    channel.incoming.put_nowait(bytes(32 << 20))
    channel.incoming.put_nowait(b"")
    writer.write_eof()
    await soon(running)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError):
        while await soon(reader.read(1 << 20)):
            pass
