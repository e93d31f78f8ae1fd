"""UDP through `nconnect tunnel`, between two of ours (nkn-tunnel has UDP only in its paid mode).

The far end listens for datagrams at a second address, `udp.<its address>`. One session of unordered messages
carries those of all programs; a message is one datagram::

    u32le flow | datagram

The near end numbers the programs that send to it (their UDP addresses); the far end has a socket for each
number, and answers carry the number of the question. Datagrams for which there is no room are dropped.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import OrderedDict
from ipaddress import ip_address
from typing import Any

from nconnect import ncp
from nconnect.errors import ClosedError, NconnectError, UsageError
from nconnect.forward.flows import FLOW_IDLE, MAX_DATAGRAM, MAX_WAITING, SWEEP_INTERVAL, Flows
from nconnect.forward.pipe import Traffic
from nconnect.forward.socks5 import Target
from nconnect.forward.tasks import Tasks
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.tunnel.control import IPAddress

logger = logging.getLogger(__name__)

PREFIX = "udp"
"""Identifier that is put before the far end's address."""
SESSION = ncp.Config(
    mode=ncp.Mode.UNORDERED,
    mtu=MAX_DATAGRAM + 4,
    # What waits is old when it arrives, and datagrams may be lost anyway.
    send_buffer=256 * 1024,
    dial_timeout=10.0,
    # A restarted far end does not know the session; the next datagram after this dials another.
    dead_timeout=15.0,
)
MAX_PROGRAMS = 256
"""UDP addresses that send to the near end; as many as the far end has sockets for one session."""
REDIAL_INTERVAL = 1.0
"""Seconds between two dials for which datagrams keep asking."""
SESSION_IDLE = 600.0
"""Seconds without a flow after which the far end hangs up: nobody needs the session then."""

_FLOW = struct.Struct("<I")


def udp_address(address: str) -> str:
    """Where the far end at `address` listens for datagrams."""
    return f"{PREFIX}.{address}"


def udp_identifier(identifier: str) -> str:
    """The same, of its identifier."""
    return f"{PREFIX}.{identifier}" if identifier else PREFIX


class NearEnd(asyncio.DatagramProtocol):
    """Takes datagrams of programs at a local port to the far end at `address`."""

    def __init__(self, client: MultiClient, address: str, traffic: Traffic) -> None:
        self._client = client
        self._address = udp_address(address)
        self._traffic = traffic
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._programs: OrderedDict[Any, _Program] = OrderedDict()
        """By UDP address; the one that was silent longest comes first."""
        self._by_number: dict[int, _Program] = {}
        self._next = 0
        self._session: Session | None = None
        self._dialling = Tasks()
        self._dial_after = self._loop.time()
        self._waiting: list[bytes] = []
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)

    def __len__(self) -> int:
        return len(self._programs)

    def close(self) -> None:
        """Take no more datagrams."""
        self._sweeper.cancel()
        self._dialling.cancel()
        if self._transport is not None:
            self._transport.abort()
        if self._session is not None:
            self._session.abort()

    # From programs

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def error_received(self, error: Exception) -> None:
        logger.debug("a datagram to a program was lost: %s", error)

    def datagram_received(self, data: bytes, address: Any) -> None:
        program = self._programs.get(address) or self._new_program(address)
        self._touch(program)
        message = _FLOW.pack(program.number) + data
        if self._session is not None:
            self._traffic.sent += _send(self._session, message)
        elif len(self._waiting) < MAX_WAITING and self._dial():
            self._waiting.append(message)

    def _new_program(self, address: Any) -> _Program:
        if len(self._programs) >= MAX_PROGRAMS:
            self._forget(next(iter(self._programs.values())))
        program = _Program(self._next, address)
        self._next = (self._next + 1) & 0xFFFFFFFF
        self._programs[address] = self._by_number[program.number] = program
        return program

    def _touch(self, program: _Program) -> None:
        program.last_used = self._loop.time()
        self._programs.move_to_end(program.address)

    def _forget(self, program: _Program) -> None:
        del self._programs[program.address]
        del self._by_number[program.number]

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(SWEEP_INTERVAL, self._sweep)
        old = self._loop.time() - FLOW_IDLE
        while self._programs and (first := next(iter(self._programs.values()))).last_used < old:
            self._forget(first)

    # The session

    def _dial(self) -> bool:
        """See that a session is being dialled; False if that failed only just now."""
        if not len(self._dialling):
            if self._loop.time() < self._dial_after:
                return False
            self._dial_after = self._loop.time() + REDIAL_INTERVAL
            self._dialling.start(self._open())
        return True

    async def _open(self) -> None:
        try:
            session = await self._client.dial(self._address, SESSION)
        except NconnectError as error:
            logger.warning("datagrams are lost: %s", error)
            self._waiting.clear()
            return
        self._session = session
        session.set_handlers(self._on_message, lambda: None, self._on_closed)
        for message in self._waiting:
            self._traffic.sent += _send(session, message)
        self._waiting.clear()

    def _on_message(self, message: bytes) -> None:
        if len(message) < _FLOW.size:
            return
        program = self._by_number.get(_FLOW.unpack_from(message)[0])
        if program is not None and self._transport is not None:
            self._touch(program)
            self._traffic.received += len(message) - _FLOW.size
            self._transport.sendto(message[_FLOW.size :], program.address)

    def _on_closed(self, error: Exception | None) -> None:
        logger.info("the session for datagrams ended: %s", error or "closed by the peer")
        self._session = None


class _Program:
    """A program that sends datagrams."""

    __slots__ = ("address", "last_used", "number")

    def __init__(self, number: int, address: Any) -> None:
        self.number = number
        self.address = address
        self.last_used = 0.0


class FarEnd:
    """Takes datagrams of accepted peers to `target`; `client` is at the address for datagrams."""

    def __init__(
        self, client: MultiClient, accept: tuple[str, ...], target: Target, traffic: Traffic
    ) -> None:
        self._client = client
        self._accept = accept
        self._target = target
        self._traffic = traffic
        self._peers = Tasks()
        self._flows: set[Flows] = set()

    def __len__(self) -> int:
        return sum(map(len, self._flows))

    async def run(self) -> None:
        """Serve every session that an accepted peer dials."""
        try:
            async for session in self._client.listen(self._accept, SESSION):
                self._peers.start(self._serve(session))
        finally:
            await self._peers.close()

    async def _serve(self, session: Session) -> None:
        """One near end, until it hangs up or has sent nothing for long."""
        ended = asyncio.Event()

        def deliver(number: int, source: Target, payload: bytes) -> None:
            self._traffic.sent += _send(session, _FLOW.pack(number) + payload)

        def on_message(message: bytes) -> None:
            if len(message) > _FLOW.size:
                self._traffic.received += len(message) - _FLOW.size
                flows.send(_FLOW.unpack_from(message)[0], self._target, message[_FLOW.size :])

        flows = Flows(_resolve, deliver)
        self._flows.add(flows)
        session.set_handlers(on_message, lambda: None, lambda error: ended.set())
        try:
            while not ended.is_set():
                try:
                    async with asyncio.timeout(SESSION_IDLE):
                        await ended.wait()
                except TimeoutError:
                    if not len(flows):
                        break
        finally:
            self._flows.discard(flows)
            flows.close()
            session.abort()


async def _resolve(target: Target) -> list[IPAddress]:
    """The addresses of a host that this machine's own user named, IPv4 first: of two, a datagram goes to one,
    and many a server listens at 127.0.0.1 only.

    Raises:
        UsageError: it has none.
    """
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(str(target.host), target.port)
    except OSError as error:
        raise UsageError(f"{target.host} cannot be resolved: {error.strerror or error}") from error
    found = [ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers]
    return sorted(found, key=lambda address: address.version)


def _send(session: Session, message: bytes) -> int:
    """How many bytes of datagram were sent: none if there was no room."""
    try:
        sent = len(message) <= session.send_mtu and session.try_send(message)
    except ClosedError:
        sent = False
    return len(message) - _FLOW.size if sent else 0
