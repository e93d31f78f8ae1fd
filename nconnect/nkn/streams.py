"""Sessions as asyncio streams: what is written for `asyncio.open_connection` and `asyncio.start_server` runs
over NKN.

A session ends for both directions at once (nkn-sdk-go has ``Close`` and nothing else), so there is no
``write_eof``: who has nothing more to write and still wants to read says so in a protocol of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from nconnect import ncp
from nconnect.errors import ClosedError, UsageError
from nconnect.nkn.listener import Listener
from nconnect.nkn.session import READ_SIZE, Session

logger = logging.getLogger(__name__)

# What a reader holds before it stops the peer (asyncio: twice that), and the longest line; asyncio's default.
LIMIT = 64 * 1024
# What is written before drain() waits, and what it waits for: asyncio's defaults. A session holds more.
HIGH_WATER = 64 * 1024
LOW_WATER = 16 * 1024

STREAM = ncp.Config(
    # The smaller of both ends counts: with the official SDKs that is their 1024.
    mtu=64 * 1024,
    # As with TCP, what was written before close() arrives, although the reader may rest for a while.
    linger=60.0,
)
"""The session under a stream, unless another is asked for."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Streams(ABC):
    """What a client does with streams; `MultiClient` is one."""

    @abstractmethod
    async def dial(
        self,
        remote: str,
        config: ncp.Config | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Session:
        """Open a session with a peer that listens."""

    @abstractmethod
    def listen(self, accept: Sequence[str] | None = None, config: ncp.Config | None = None) -> Listener:
        """Accept sessions of peers whose address one of the regular expressions finds."""

    async def open_connection(
        self,
        remote: str,
        config: ncp.Config | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # goes into the protocol's own timer
        *,
        limit: int = LIMIT,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A session with a peer that listens, as `asyncio.open_connection` has it; errors as with `dial`.

        ``limit`` is the longest line in bytes; the peer is stopped when twice that waits to be read.
        ``writer.get_extra_info`` knows ``"peername"``, the peer's address, and ``"session"``.
        """
        return _open(await self.dial(remote, _stream_config(config), timeout), limit)

    async def start_server(
        self,
        handler: Handler,
        accept: Sequence[str] | None = None,
        config: ncp.Config | None = None,
        *,
        limit: int = LIMIT,
    ) -> Server:
        """Run ``handler(reader, writer)`` for each session that a peer dials; ``accept`` as with `listen`."""
        return Server(self.listen(accept, _stream_config(config)), handler, limit)


def _stream_config(config: ncp.Config | None) -> ncp.Config:
    if config is not None and config.mode is not ncp.Mode.STREAM:
        raise UsageError("a stream needs a session in stream mode: ncp.Config(mode=Mode.STREAM)")
    return config or STREAM


class Server:
    """Runs a handler for each connection, in a task of its own; made by `MultiClient.start_server`.

    A connection ends with its handler: in good order if it returns, at once if it raises. At the end of
    ``async with`` the handlers that still run are cancelled.
    """

    def __init__(self, listener: Listener, handler: Handler, limit: int) -> None:
        self._listener = listener
        self._handler = handler
        self._limit = limit
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        for connection in self._connections:
            connection.cancel()
        await self.wait_closed()

    def is_serving(self) -> bool:
        """Whether connections are accepted."""
        return not self._accepting.done()

    def close(self) -> None:
        """Accept no more connections; those accepted go on."""
        self._listener.close()
        self._accepting.cancel()

    async def wait_closed(self) -> None:
        """Wait until no more connections are accepted, and for the end of each."""
        await asyncio.wait([self._accepting])
        if self._connections:
            await asyncio.wait(self._connections)

    async def serve_forever(self) -> None:
        """Wait until the server or its client is closed."""
        await asyncio.wait([self._accepting])

    async def _accept(self) -> None:
        async for session in self._listener:
            connection = asyncio.create_task(self._serve(session))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _serve(self, session: Session) -> None:
        reader, writer = _open(session, self._limit)
        try:
            await self._handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except ConnectionError as error:
            logger.debug("%s: %s", session, error)
        except Exception as error:
            name = type(error).__name__
            logger.error("%s: its handler failed, so the session ends: %s: %s", session, name, error)
            logger.debug("where it failed", exc_info=True)
        finally:
            writer.transport.abort()


def _open(session: Session, limit: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = _Reader(limit, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = SessionTransport(session, protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _Reader(asyncio.StreamReader):
    """Has what the peer sent before an orderly end, even if what we sent did not arrive."""

    _ended = False

    def feed_eof(self) -> None:
        self._ended = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        if not self._ended:
            super().set_exception(exc)


class SessionTransport(asyncio.Transport):
    """An asyncio transport over a session.

    The protocol's ``connection_lost`` gets ConnectionResetError if the session broke or ended before all
    that was written went out, and None otherwise.
    """

    def __init__(self, session: Session, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": session.remote_address, "session": session})
        self._session = session
        self._protocol = protocol
        self._buffer: list[bytes] = []
        self._size = 0
        self._high, self._low = HIGH_WATER, LOW_WATER
        self._writing_paused = False
        # There is something to write, or nothing will be any more.
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = self._aborted = self._over = False
        protocol.connection_made(self)
        self._task = asyncio.create_task(self._run())

    def __repr__(self) -> str:
        return f"<SessionTransport of {self._session}>"

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what comes from now on to another protocol."""
        if not isinstance(protocol, asyncio.Protocol):
            raise UsageError("a session's protocol must be an asyncio.Protocol")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Who gets what comes."""
        return self._protocol

    # --- reading ---

    def is_reading(self) -> bool:
        """Whether data is handed to the protocol."""
        return self._reading.is_set() and not self._closing

    def pause_reading(self) -> None:
        """Hand over no more data; the peer is stopped once its window is full."""
        # A session that is over holds all that is left, so nobody is stopped; and drain() waits for its end.
        if not self._over and not self._closing:
            self._reading.clear()

    def resume_reading(self) -> None:
        """Hand over data again."""
        self._reading.set()

    # --- writing ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, without waiting; after the end it is dropped, and ``drain`` says so."""
        if data and not self._closing:
            # No copy if it is bytes; anything else the caller may change.
            chunk = bytes(data)
            self._buffer.append(chunk)
            self._size += len(chunk)
            self._wake.set()
            self._pause_or_resume()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of them, as one."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """False: NCP has no half-close."""
        return False

    def write_eof(self) -> None:
        """NotImplementedError, as asyncio has it where there is no half-close."""
        raise NotImplementedError("an NKN session has no half-close: close() ends both directions")

    def get_write_buffer_size(self) -> int:
        """Bytes that the session has not taken yet."""
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high mark, in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Above ``high`` bytes writers are told to pause, at ``low`` to go on; the defaults are asyncio's."""
        if high is None:
            high = HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise UsageError(f"write buffer limits must be high >= low >= 0, not {high} and {low}")
        self._high, self._low = high, low
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        if self._size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()
        elif self._size <= self._low and self._writing_paused:
            self._writing_paused = False
            self._protocol.resume_writing()

    # --- the end ---

    def is_closing(self) -> bool:
        """Whether the connection ends or has ended."""
        return self._closing

    def close(self) -> None:
        """Read no more, send what was written, then end the session."""
        self._closing = True
        self._reading.set()
        self._wake.set()

    def abort(self) -> None:
        """End the session at once: what was not sent is lost."""
        self._closing = self._aborted = True
        self._wake.set()
        self._session.abort()

    # --- what goes on meanwhile ---

    async def _run(self) -> None:
        reading = asyncio.create_task(self._read_all())
        error: ClosedError | None = None
        try:
            try:
                await self._write_all()
                if not self._over:
                    await self._end_session()
            except ClosedError as broken:
                error = broken
            if not self._closing:
                # What came before the end is handed over, whether the protocol has paused or not.
                self._over = True
                self._reading.set()
                await reading
        except ClosedError as broken:
            error = broken
        finally:
            self._closing = True
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, ClosedError):
                await reading
            self._session.abort()
            self._protocol.connection_lost(None if self._aborted else _reset(error))

    async def _read_all(self) -> None:
        try:
            while data := await self._session.read(READ_SIZE):
                await self._reading.wait()
                # After close() it is dropped: two that close with data unread would wait for each other.
                if not self._closing:
                    self._protocol.data_received(data)
            if not self._closing:
                self._protocol.eof_received()
        finally:
            self._over = True
            self._wake.set()

    async def _write_all(self) -> None:
        """Write until there is nothing more to write; ClosedError if the session ended before."""
        while True:
            if self._buffer:
                data, self._buffer = b"".join(self._buffer), []
                await self._session.write(data)
                self._size -= len(data)
                self._pause_or_resume()
            elif self._closing or self._over:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _end_session(self) -> None:
        await self._session.close()
        if self._session.error is not None:
            raise ClosedError(str(self._session.error))


def _reset(error: ClosedError | None) -> ConnectionResetError | None:
    """What code for asyncio's streams expects when a connection breaks."""
    if error is None:
        return None
    reset = ConnectionResetError(str(error))
    reset.__cause__ = error
    return reset
