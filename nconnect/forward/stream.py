"""One connection on a link: bytes in order both ways, with back-pressure and half-close.

The two directions end apart from each other (END); either side may break off both (RESET). How far the other
side may send is told by WINDOW, so a reader that is slow holds up its own connection and no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from nconnect.errors import ClosedError, ProtocolError, RefusedError
from nconnect.forward import records
from nconnect.forward.records import Kind
from nconnect.forward.socks5 import Reply

MAX_AHEAD = 4096
"""Pieces kept while one before them is missing. 64 full ones fill the window; small ones come one a turn of
the sender's event loop, and a piece that is lost comes again within a second."""


class Sender(Protocol):
    """What carries a stream's records."""

    def ready(self, stream: Stream) -> None:
        """The stream has something for `take`."""

    def urgent(self, record: bytes) -> None:
        """Send this before data."""

    def forget(self, stream: Stream) -> None:
        """The stream is over."""


class Stream:
    """One end of a connection; made by a `Carrier`.

    For whom it is: `read`, `write`, `write_eof`, `abort`; at the user `answer`, at the provider `accept` and
    `refuse`. For the carrier: `take` and what begins with `on_`.
    """

    half_close = True

    def __init__(self, number: int, sender: Sender) -> None:
        self.number = number
        self._sender = sender
        self._answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._broken = ""
        """Why the stream was broken off."""
        self._over = False
        self.on_broken: Callable[[], object] = lambda: None
        """Called when the other side breaks the stream off, or the link ends."""

        self._out = memoryview(b"")
        self._sent = 0
        self._send_limit = records.WINDOW
        self._end_wanted = self._end_sent = False
        self._queued = False
        self._taken = asyncio.Event()

        self._in = bytearray()
        self._ahead: dict[int, bytes] = {}
        self._ahead_size = 0
        self._received = 0
        self._read_up_to = 0
        self._receive_limit = records.WINDOW
        self._size: int | None = None
        self._arrived = asyncio.Event()

    # Opening

    async def answer(self) -> None:
        """Wait for the provider's answer.

        Raises:
            RefusedError: it did not connect; the code is a `Reply`.
            ClosedError: the link ended first.
        """
        reply = await self._answer
        if reply is not Reply.SUCCEEDED:
            raise RefusedError(reply, f"the provider did not connect: {reply.name.lower().replace('_', ' ')}")

    def accept(self) -> None:
        """Tell the user that we are connected."""
        self._sender.urgent(records.encode(Kind.OPENED, self.number, bytes([Reply.SUCCEEDED])))

    def refuse(self, code: int) -> None:
        """Tell the user why we are not; the stream is over."""
        if not self._over:
            self._sender.urgent(records.encode(Kind.OPENED, self.number, bytes([code])))
            self._finish("the connection was refused")

    # Reading and writing

    async def read(self, n: int) -> bytes:
        """Up to `n` bytes, at least one; `b""` at the end. ClosedError if it was broken off."""
        while not self._in:
            if self._broken:
                raise ClosedError(self._broken)
            if self._received == self._size:
                return b""
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._in[:n])
        del self._in[:n]
        self._read_up_to += len(data)
        self._open_window()
        return data

    def _open_window(self) -> None:
        """Half a window at a time: few records, and the sender never waits for one if we read in time."""
        limit = self._read_up_to + records.WINDOW
        if self._size is None and not self._over and limit - self._receive_limit >= records.WINDOW // 2:
            self._receive_limit = limit
            self._sender.urgent(records.encode_offset(Kind.WINDOW, self.number, limit))

    async def write(self, data: bytes) -> None:
        """Send all of `data`; returns when the link has taken it, which is not before there is room.

        ClosedError if the stream is over. One writer at a time.
        """
        self._out = memoryview(data)
        while self._out:
            await self._until_taken()

    async def write_eof(self) -> None:
        """Nothing more will be written; reading goes on. Returns and raises as `write`."""
        self._end_wanted = True
        while not self._end_sent:
            await self._until_taken()

    async def _until_taken(self) -> None:
        if self._broken:
            raise ClosedError(self._broken)
        self._taken.clear()
        self._wake()
        await self._taken.wait()

    def abort(self) -> None:
        """Break off both directions; what is on its way is lost."""
        if not self._over:
            self._sender.urgent(records.encode(Kind.RESET, self.number))
            self._finish("the connection was broken off")

    # What the carrier sends

    def _wake(self) -> None:
        if not self._queued and self.has_more:
            self._queued = True
            self._sender.ready(self)

    @property
    def has_more(self) -> bool:
        """Whether `take` has something now."""
        if self._over:
            return False
        if self._out:
            return self._sent < self._send_limit
        return self._end_wanted and not self._end_sent

    def take(self, room: int) -> tuple[bytes, bytes | memoryview]:
        """The next record, of `room` bytes at most, in two parts; empty where there is none."""
        self._queued = False
        if not self.has_more:
            return b"", b""
        if not self._out:
            self._end_sent = True
            self._taken.set()
            record = records.encode_offset(Kind.END, self.number, self._sent)
            self._finish_if_done()
            return record, b""
        size = min(len(self._out), self._send_limit - self._sent, room - records.DATA_OVERHEAD)
        head, data = records.data_head(self.number, self._sent, size), self._out[:size]
        self._out = self._out[size:]
        self._sent += size
        if not self._out:
            self._taken.set()
        self._queued = self.has_more
        return head, data

    # What the carrier received

    def on_opened(self, body: memoryview) -> None:
        """The provider's answer. ProtocolError if it is none."""
        try:
            reply = Reply(body[0])
        except (IndexError, ValueError):
            raise ProtocolError("the provider's answer to OPEN is no SOCKS reply") from None
        if not self._answer.done():
            self._answer.set_result(reply)
        if reply is not Reply.SUCCEEDED:
            self._finish("the provider did not connect")

    def on_data(self, offset: int, data: memoryview) -> None:
        """A piece of the stream. ProtocolError if no honest peer sends it."""
        end = offset + len(data)
        if end > self._receive_limit or (self._size is not None and end > self._size):
            raise ProtocolError(f"bytes up to {end} of a stream that may have {self._receive_limit}")
        if offset < self._received or offset in self._ahead or not data:
            raise ProtocolError(f"bytes at {offset} of a stream a second time, or none")
        if offset != self._received:
            self._keep_ahead(offset, data)
            return
        self._in += data
        self._received = end
        while (piece := self._ahead.pop(self._received, None)) is not None:
            self._ahead_size -= len(piece)
            self._in += piece
            self._received += len(piece)
        self._arrived.set()
        self._finish_if_done()

    def _keep_ahead(self, offset: int, data: memoryview) -> None:
        # Pieces that overlap could be more than the window; an honest peer's do not.
        if len(self._ahead) >= MAX_AHEAD or self._ahead_size + len(data) > records.WINDOW:
            raise ProtocolError(f"{len(self._ahead)} pieces of a stream came while one is missing")
        self._ahead[offset] = bytes(data)
        self._ahead_size += len(data)

    def on_end(self, size: int) -> None:
        """The stream's size. ProtocolError if more than that came."""
        if self._size is not None or size < self._received or size > self._receive_limit:
            raise ProtocolError(f"a stream ends at {size}, but {self._received} bytes came")
        self._size = size
        self._arrived.set()
        self._finish_if_done()

    def on_window(self, limit: int) -> None:
        """How far we may send; windows may overtake each other."""
        if limit > self._send_limit:
            self._send_limit = limit
            self._wake()

    def break_off(self, reason: str) -> None:
        """The other side, or the link, is gone."""
        if not self._over:
            self._finish(reason)
            self.on_broken()

    # The end

    def _finish_if_done(self) -> None:
        if self._end_sent and self._received == self._size and not self._over:
            self._over = True
            self._sender.forget(self)

    def _finish(self, reason: str) -> None:
        self._over = True
        self._broken = reason
        self._ahead.clear()
        if not self._answer.done():
            self._answer.set_exception(ClosedError(reason))
            self._answer.exception()  # seen, should nobody wait for it
        self._taken.set()
        self._arrived.set()
        self._sender.forget(self)
