"""A user's rate, where the provider makes the connections itself: what comes too fast waits its turn.

Streams wait, so that TCP on both sides slows down; datagrams that come too fast are dropped, as by a policer.
"""

from __future__ import annotations

import asyncio

from nconnect.forward.pipe import READ_SIZE, Channel

BURST_SECONDS = 0.1
"""What an idle user may send at once; short, so that the rate holds over any second."""
MIN_BURST = 2 * READ_SIZE
"""Bytes: one piece of a stream has to pass at a low rate, too."""


class Rate:
    """One direction of one user; `bits` a second, 0: no limit."""

    def __init__(self, bits: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self.bits = bits
        self._free_at = 0.0
        """When all that was let through so far has been paid for."""

    async def take(self, size: int) -> None:
        """Wait until `size` bytes may pass."""
        if self.bits:
            delay = self._pay(size)
            if delay > 0:
                await asyncio.sleep(delay)

    def try_take(self, size: int) -> bool:
        """Whether `size` bytes may pass now; nothing is taken if not."""
        if self.bits and self._free_at - self._loop.time() > 0:
            return False
        if self.bits:
            self._pay(size)
        return True

    def _pay(self, size: int) -> float:
        """Seconds until `size` more bytes are paid for."""
        now = self._loop.time()
        burst = max(BURST_SECONDS, MIN_BURST * 8 / self.bits)
        self._free_at = max(self._free_at, now - burst) + size * 8 / self.bits
        return self._free_at - now


class RatedChannel:
    """A channel that lets no more through than the rates of its user."""

    def __init__(self, channel: Channel, reading: Rate, writing: Rate) -> None:
        self._channel = channel
        self._reading = reading
        self._writing = writing
        self.half_close = channel.half_close
        self.write_eof = channel.write_eof
        self.abort = channel.abort

    async def read(self, n: int) -> bytes:
        data = await self._channel.read(n)
        await self._reading.take(len(data))
        return data

    async def write(self, data: bytes) -> None:
        await self._writing.take(len(data))
        await self._channel.write(data)
