"""UDP sockets towards hosts, one for each flow and target, closed when nothing went through them for a while.

A socket is connected to its target, so the kernel drops what others send to it: as with a NAT that filters by
address and port (RFC 4787, 5), who was not asked does not get in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from nconnect.errors import NconnectError
from nconnect.forward.socks5 import Target
from nconnect.tunnel.control import IPAddress

logger = logging.getLogger(__name__)

MAX_FLOWS = 256
"""Sockets of one user; the one that was idle longest makes room. Most programs have a few."""
FLOW_IDLE = 120.0
"""Seconds without a datagram after which a flow is closed: the least of RFC 4787, 4.3 (REQ-5)."""
SWEEP_INTERVAL = 10.0
"""Seconds between looks for idle flows."""
MAX_WAITING = 16
"""Datagrams kept while a target is resolved; a sender that got no answer yet sends few more."""
MAX_DATAGRAM = 65507
"""Bytes of the largest UDP payload over IPv4: 65535 less two headers."""

Key = tuple[int, Target]
Resolve = Callable[[Target], Awaitable[list[IPAddress]]]
Deliver = Callable[[int, Target, bytes], None]


class Flows:
    """The flows of one user.

    `resolve` gives the addresses of a target, or raises NconnectError; `deliver` is called with the flow, the
    address that answered, and the datagram.
    """

    def __init__(self, resolve: Resolve, deliver: Deliver) -> None:
        self._resolve = resolve
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._flows: OrderedDict[Key, _Flow] = OrderedDict()
        """The one that was idle longest comes first."""
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)

    def __len__(self) -> int:
        return len(self._flows)

    def send(self, number: int, target: Target, payload: bytes) -> None:
        """Send a datagram; its flow is opened if there is none."""
        key = number, target
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._flows.popitem(last=False)[1].close()
            flow = self._flows[key] = _Flow(lambda source, data: self._on_answer(key, source, data))
            flow.opening = asyncio.create_task(self._open(key, flow))
        self._touch(key, flow)
        flow.send(payload)

    def forget(self, number: int) -> None:
        """Close the flows of that number."""
        for key in [key for key in self._flows if key[0] == number]:
            self._flows.pop(key).close()

    def recheck(self, allowed: Callable[[IPAddress, int], bool]) -> None:
        """Close the flows to what is no longer allowed; one that is being opened is asked for again."""
        for key, flow in list(self._flows.items()):
            if flow.peer is None or not allowed(*flow.peer):
                del self._flows[key]
                flow.close()

    def close(self) -> None:
        """Close all flows."""
        self._sweeper.cancel()
        while self._flows:
            self._flows.popitem()[1].close()

    async def _open(self, key: Key, flow: _Flow) -> None:
        try:
            addresses = await self._resolve(key[1])
            await self._loop.create_datagram_endpoint(
                lambda: flow, remote_addr=(str(addresses[0]), key[1].port)
            )
        except (NconnectError, OSError) as error:
            logger.debug("datagrams to %s are lost: %s", key[1], error)
            if self._flows.get(key) is flow:
                del self._flows[key]  # the next datagram tries again

    def _on_answer(self, key: Key, source: Target, payload: bytes) -> None:
        flow = self._flows.get(key)
        if flow is not None:
            self._touch(key, flow)
            self._deliver(key[0], source, payload)

    def _touch(self, key: Key, flow: _Flow) -> None:
        flow.last_used = self._loop.time()
        self._flows.move_to_end(key)

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)
        while self._flows:
            key, flow = next(iter(self._flows.items()))
            if self._loop.time() - flow.last_used < FLOW_IDLE:
                break
            del self._flows[key]
            flow.close()


class _Flow(asyncio.DatagramProtocol):
    """One socket."""

    def __init__(self, on_answer: Callable[[Target, bytes], None]) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.DatagramTransport | None = None
        self._closed = False
        self.waiting: list[bytes] = []
        self.last_used = 0.0
        self.opening: asyncio.Task[None] | None = None
        self.peer: tuple[IPAddress, int] | None = None
        """Address and port, once they are known."""

    def send(self, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(payload)
        elif len(self.waiting) < MAX_WAITING:
            self.waiting.append(payload)

    def close(self) -> None:
        self._closed = True
        if self.opening is not None:
            self.opening.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        if self._closed:
            transport.abort()
            return
        self._transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        self.peer = ip_address(host), port
        for payload in self.waiting:
            transport.sendto(payload)
        self.waiting.clear()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._on_answer(Target(ip_address(address[0]), address[1]), data)

    def error_received(self, error: Exception) -> None:
        logger.debug("a flow's datagram was lost: %s", error)
