"""Addresses of seeds and nodes by their names; the last good ones are kept.

The name server may be behind the very tunnel that is to be dialled, or another program may have broken it.
What a name meant when it last resolved is then as good a place to try as any: TLS inside proves who answers.
Whoever wants that to outlive the process saves what is `known`, and has the next one `recall` it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

logger = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a resolver gets for a name that resolved before. The C library waits 5 for each server."""
MAX_NAMES = 256
"""Names that are remembered: some seeds and nodes, many times over."""

IPAddress = IPv4Address | IPv6Address
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
        self._recalled: dict[str, tuple[IPAddress, ...]] = {}
        self._asking: dict[_Key, _Question] = {}

    def known(self) -> dict[str, tuple[IPAddress, ...]]:
        """The last good addresses of names, the latest at the end; a name that is an address needs none."""
        found = dict(self._recalled)
        for (host, _), infos in self._good.items():
            addresses = tuple(ip_address(info[4][0].partition("%")[0]) for info in infos)
            if host not in map(str, addresses):
                found.pop(host, None)
                found[host] = addresses
        return dict(list(found.items())[-MAX_NAMES:])

    def recall(self, known: Mapping[str, Sequence[IPAddress]]) -> None:
        """Take what an earlier process knew for names that do not resolve."""
        self._recalled = {host: tuple(addresses) for host, addresses in known.items()}

    async def addresses(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses of `host`, for TCP; OSError if it has none and never had."""
        key = host, port
        question = self._question(key)
        old = self._good.get(key) or [_info(address, port) for address in self._recalled.get(host, ())]
        try:
            async with asyncio.timeout_at(question.deadline if old else None):
                # Who gives up does not take the answer from the others.
                return await asyncio.shield(question.task)
        except (TimeoutError, OSError) as error:
            if not old:
                raise
            logger.info("%s does not resolve (%s): trying what it was", host, error or "no answer")
            if key in self._good:
                self._good.move_to_end(key)
            return old

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


def _info(address: IPAddress, port: int) -> AddressInfo:
    """As the system says it of an address."""
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0)


LOOKUP = Lookup()
"""Of this process: a name means the same to all clients in it."""
