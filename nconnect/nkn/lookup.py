"""Addresses of seeds and nodes by their names; the last good ones are kept.

The name server may be behind the very tunnel that is to be dialled, or another program may have broken it.
What a name meant when it last resolved is then as good a place to try as any: TLS inside proves who answers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a resolver gets for a name that resolved before. The C library waits 5 for each server."""
MAX_NAMES = 256
"""Names that are remembered: some seeds and nodes, many times over."""

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""As `socket.getaddrinfo` has it: family, kind, protocol, canonical name, address."""
_Key = tuple[str, int]


@dataclass
class _Question:
    task: asyncio.Task[Sequence[AddressInfo]]
    deadline: float
    """When those who may have an older answer take that, in the loop's time."""


class Lookup:
    """Asks the system, once at a time for each name, and remembers what it said."""

    def __init__(self) -> None:
        self._good: OrderedDict[_Key, Sequence[AddressInfo]] = OrderedDict()
        self._asking: dict[_Key, _Question] = {}

    async def addresses(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses of `host`, for TCP; OSError if it has none and never had."""
        key = host, port
        question = self._question(key)
        try:
            async with asyncio.timeout_at(question.deadline if key in self._good else None):
                # Who gives up does not take the answer from the others.
                return await asyncio.shield(question.task)
        except (TimeoutError, OSError) as error:
            if key not in self._good:
                raise
            logger.info("%s does not resolve (%s): trying what it was", host, error or "no answer")
            self._good.move_to_end(key)
            return self._good[key]

    def _question(self, key: _Key) -> _Question:
        loop = asyncio.get_running_loop()
        question = self._asking.get(key)
        if question is None or question.task.get_loop() is not loop:
            task = loop.create_task(self._ask(key))
            question = self._asking[key] = _Question(task, loop.time() + PATIENCE)
            task.add_done_callback(lambda task: self._done(key, task))
        return question

    async def _ask(self, key: _Key) -> Sequence[AddressInfo]:
        host, port = key
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._good[key] = found
        self._good.move_to_end(key)
        if len(self._good) > MAX_NAMES:
            self._good.popitem(last=False)
        return found

    def _done(self, key: _Key, task: asyncio.Task[Sequence[AddressInfo]]) -> None:
        if self._asking[key].task is task:
            del self._asking[key]
        if not task.cancelled():
            task.exception()  # seen, should nobody wait any more


LOOKUP = Lookup()
"""Of this process: a name means the same to all clients in it."""
