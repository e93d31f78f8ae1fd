"""Two carriers in one process: what one sends, the other gets, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, cast

from nconnect.forward.carrier import Carrier
from nconnect.forward.socks5 import Target
from nconnect.forward.stream import Stream
from nconnect.tunnel.link import Link

MAX_BATCH = 40_000
"""Fewer than a stream's window, so that one needs many."""


class FakeLink:
    """One end. Batches wait until the test, or `Network.run`, delivers them."""

    remote_address = "peer"
    max_batch = MAX_BATCH

    def __init__(self) -> None:
        self.closed = False
        self.has_room = True
        self.sent: list[bytes] = []
        self.on_batch: Callable[[memoryview], None] = lambda batch: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[Exception | None], None] = lambda error: None

    def send_batch(self, batch: bytes) -> None:
        assert self.has_room and not self.closed and 0 < len(batch) <= self.max_batch
        self.sent.append(batch)

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.on_closed(None)

    def room(self, there_is: bool) -> None:
        self.has_room = there_is
        if there_is:
            self.on_room()


class Ends:
    """A user's carrier and a provider's, and what they were told."""

    def __init__(self) -> None:
        self.user_link, self.provider_link = FakeLink(), FakeLink()
        self.opened: asyncio.Queue[tuple[Stream, Target]] = asyncio.Queue()
        self.datagrams: list[tuple[int, Target, bytes]] = []
        self.forgotten: list[int] = []
        self.user = Carrier(
            cast(Link, self.user_link), on_datagram=lambda *datagram: self.datagrams.append(datagram)
        )
        self.provider = Carrier(
            cast(Link, self.provider_link),
            on_open=lambda stream, target: self.opened.put_nowait((stream, target)),
            on_datagram=lambda *datagram: self.datagrams.append(datagram),
            on_forget=self.forgotten.append,
        )

    async def connect(self, target: Target) -> tuple[Stream, Stream]:
        """A stream, at the user and at the provider, that is not accepted yet."""
        ours = self.user.open(target)
        await self.deliver()
        theirs, where = self.opened.get_nowait()
        assert where == target
        return ours, theirs

    async def deliver(self, choice: random.Random | None = None) -> None:
        """Let both say all that they have to say, and hear it; in any order with `choice`."""
        while True:
            for _ in range(5):  # whoever was woken may have more to say
                await asyncio.sleep(0)
            waiting = [
                (there, batch)
                for here, there in self._directions()
                for batch in (here.sent if choice is None else choice.sample(here.sent, len(here.sent)))
            ]
            if not waiting:
                return
            for here, _ in self._directions():
                here.sent.clear()
            for there, batch in waiting:
                if not there.closed:
                    there.on_batch(memoryview(batch))

    def _directions(self) -> tuple[tuple[FakeLink, FakeLink], tuple[FakeLink, FakeLink]]:
        return (self.user_link, self.provider_link), (self.provider_link, self.user_link)


def run(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(coroutine)
