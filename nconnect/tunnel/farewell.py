"""The end of a lease: what a user had open is reset towards the LAN, and forgotten by the kernel.

A server that only computes sends nothing, so it would never learn that nobody waits any more. It is asked for
its numbers with a packet from the user's address and answered with a reset (`packet.tcp`), both by way of the
TUN device: the kernel takes them for the user's own, translates them, and brings the answer back. Whatever
the user may reach by now, the kernel has to let them through.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network

from nconnect.host import conntrack
from nconnect.host.grants import Target
from nconnect.packet import ip, tcp
from nconnect.packet.virtio import PROTOCOL_TCP
from nconnect.tunnel.control import IPAddress

logger = logging.getLogger(__name__)

ATTEMPTS = 3
ATTEMPT_SECONDS = 1.0
"""Between two packets to a server that does not answer: twice what Linux leaves between two of its challenge
ACKs (tcp_invalid_ratelimit)."""
MAX_TARGETS = 256
"""Servers that the kernel is told of one by one; who had connections to more was looking for open ports."""
EVERYWHERE = (Target(ip_network("0.0.0.0/0"), "tcp"), Target(ip_network("::/0"), "tcp"))
PROBES_AT_ONCE = 256
"""After which others have a turn; each costs some microseconds."""


class Farewell:
    """Ends the connections of one user who is gone; the device's packets for the user have to come here."""

    def __init__(
        self,
        addresses: Sequence[IPAddress],
        allow: Callable[[tuple[Target, ...]], None],
        write: Callable[[bytes], bool],
    ) -> None:
        """`allow` has the kernel let the user reach these and nothing else; `write` hands it a packet."""
        self._addresses = addresses
        self._allow = allow
        self._write = write
        self._open: dict[ip.Flow, bytes] = {}
        """By the flow of what their servers send: the probe of each connection that is not reset yet."""
        self._all_reset = asyncio.Event()

    async def run(self) -> int:
        """Reset them all, as far as their servers answer; how many were.

        Raises:
            HostError: the kernel does not tell which there are, or does not forget them.
        """
        connections = await asyncio.to_thread(conntrack.connections_of, self._addresses)
        live = [one for one in connections if one.live]
        for one in live:
            server, user = one.destination.packed, one.source.packed
            flow = (server, user, PROTOCOL_TCP, one.destination_port, one.source_port)
            self._open[flow] = tcp.probe(user, server, one.source_port, one.destination_port)
        if live:
            self._allow(_targets(live))
        count = len(self._open)
        for _ in range(ATTEMPTS):
            if not self._open:
                break
            await self._ask()
        if self._open:
            logger.info("%d servers did not answer when a lease ended", len(self._open))
        await asyncio.to_thread(conntrack.forget, connections)
        return count - len(self._open)

    async def _ask(self) -> None:
        for number, probe in enumerate(list(self._open.values()), 1):
            self._write(probe)
            if number % PROBES_AT_ONCE == 0:
                await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await self._all_reset.wait()

    # What the pump hands us

    def queue(self, packet: bytes) -> None:
        """A packet for the user; DecodeError: it is none."""
        reset = tcp.reset_for(packet)
        if reset is None or not self._write(reset):
            return
        self._open.pop(ip.flow(packet), None)
        if not self._open:
            self._all_reset.set()

    def flush(self) -> None:
        """Nothing waits here."""


def _targets(connections: Iterable[conntrack.Connection]) -> tuple[Target, ...]:
    servers = sorted({str(one.destination) for one in connections})
    if len(servers) > MAX_TARGETS:
        return EVERYWHERE
    return tuple(Target(ip_network(server), "tcp") for server in servers)
