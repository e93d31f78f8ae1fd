"""The user's side without a TUN device: `nconnect socks`.

Dial the provider as `nconnect up` does, and offer what it reaches as a SOCKS5 proxy. A link that is lost is
dialled again; connections end with it, UDP associations go on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Never

from nconnect.config import NetworkSection
from nconnect.errors import ClosedError, DecodeError, ProtocolError, RefusedError
from nconnect.forward import socks5
from nconnect.forward.association import Association
from nconnect.forward.carrier import Carrier
from nconnect.forward.limits import raise_file_limit
from nconnect.forward.listening import is_loopback, listen
from nconnect.forward.pipe import READ_SIZE, pipe
from nconnect.forward.socks5 import Command, Reply, Target
from nconnect.forward.surroundings import following
from nconnect.forward.tasks import Tasks
from nconnect.nkn.addresses import Address
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.tunnel import control, health, joining, status
from nconnect.tunnel.link import Link

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0
"""Seconds for a program of this machine to say what it wants."""
MAX_PROGRAMS = 1024
"""Connections to the proxy; the provider lets a user have fewer, but some wait, end or are refused."""
LINK_WAIT = 5.0
"""Seconds that a connection waits for a link that is being dialled again."""


@dataclass(frozen=True)
class SocksOptions:
    """What `nconnect socks` was asked for."""

    peer: Address
    host: str
    port: int
    name: str
    network: NetworkSection
    wait: bool = False
    """Wait for a provider who does not let us in yet, or does not answer."""
    invite: bytes = field(default=b"", repr=False)
    """Shown to the provider until it has let us in."""


class Socks:
    """A SOCKS5 proxy into one provider's LAN; `run` until cancelled."""

    def __init__(self, options: SocksOptions, key: KeyPair, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._client = MultiClient(
            key,
            joining.identifier("socks", key, options.invite),
            ClientConfig(seed_rpc=options.network.seed_rpc, sub_clients=options.network.sub_clients),
        )
        self._invite = options.invite
        self._link: Link | None = None
        self._carrier: Carrier | None = None
        self._linked = asyncio.Event()
        self._welcome: control.Welcome | None = None
        self._standing = health.Standing(self._loop.time())
        self._programs = Tasks()
        self._associations: dict[int, Association] = {}
        self._flows = itertools.count(1)
        self.port = options.port
        """Where it listens, once it is ready."""
        self.failed: asyncio.Future[Never] = self._loop.create_future()
        """Never set: nothing that it needs can be taken away."""
        self.ready = asyncio.Event()
        """Set when programs can connect."""

    async def run(self) -> None:
        """Connect and stay connected until cancelled.

        Raises:
            HostError: the port cannot be had.
            NetworkError, ProtocolError, RefusedError: the first connection could not be made.
            RefusedError: a later one was refused, or ended because we are let in no longer.
        """
        raise_file_limit()
        server = await listen(self._options.host, self._options.port, self._on_program)
        self.port = server.sockets[0].getsockname()[1]
        try:
            async with self._client:
                redial = joining.Redial(self._dial, self._not_answered, self._say, wait=self._options.wait)
                with following(self._client):
                    link = await redial.first()
                    await server.start_serving()
                    await self._stay(link, redial)
        finally:
            server.close()
            await self._programs.close()

    # The link

    async def _dial(self) -> Link:
        capabilities = frozenset({control.CAPABILITY_FORWARD})
        hello = control.Hello(capabilities, socket.gethostname(), self._invite)
        link, self._welcome = await joining.join(self._client, self._options.peer, hello)
        if self._invite:
            self._invite = b""
            self._say(f"your key is let in; from now on: nconnect socks --peer {self._options.peer}")
        if control.CAPABILITY_FORWARD not in self._welcome.capabilities:
            link.abort()
            raise ProtocolError("the provider does not make connections; connect with `nconnect up` instead")
        return link

    async def _stay(self, link: Link, redial: joining.Redial[Link]) -> None:
        try:
            while True:
                self._take_up(link)
                refused = False
                try:
                    reason = await joining.until_lost(self._client, link, self._on_routes)
                except RefusedError as error:
                    redial.lost(error)
                    reason, refused = str(error), True
                self._let_go(link, reason, refused=refused)
                link = await redial.again()
        finally:
            await link.close("the user left")

    def _take_up(self, link: Link) -> None:
        assert self._welcome is not None
        self._link = link
        self._carrier = Carrier(link, on_datagram=self._on_answer)
        self._standing.linked(self._loop.time())
        self._linked.set()
        where = f"{self._options.host}:{self.port}"
        self._say(
            f"connected to {self._welcome.name or self._options.peer}: "
            f"{', '.join(map(str, self._welcome.routes)) or 'no networks'} via socks5h://{where} "
            f"({link.key_exchange_group})"
        )
        if not self.ready.is_set() and not is_loopback(self._options.host):
            self._say(f"warning: everybody who reaches {where} can use it")
        self.ready.set()

    def _on_routes(self, changed: tuple[control.IPNetwork, ...]) -> None:
        assert self._welcome is not None
        self._welcome = replace(self._welcome, routes=changed)

    def _let_go(self, link: Link, reason: str, *, refused: bool) -> None:
        self._link = self._carrier = None
        self._linked.clear()
        self._standing.lost(reason, link.last_received, self._loop.time(), refused=refused)
        self._say(f"connection lost ({reason}); dialling again")

    def _not_answered(self, error: Exception) -> None:
        self._standing.failed(error, self._loop.time())

    # Programs

    def _on_program(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._programs) >= MAX_PROGRAMS:
            writer.transport.abort()
            return
        self._programs.start(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a program, from its greeting to its end."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                command, target = await self._request(reader, writer)
            if target is None:
                writer.write(socks5.reply(Reply.ADDRESS_TYPE_NOT_SUPPORTED))
            elif command == Command.CONNECT:
                await self._connect(target, reader, writer)
            elif command == Command.UDP_ASSOCIATE:
                await self._associate(reader, writer)
            else:
                writer.write(socks5.reply(Reply.COMMAND_NOT_SUPPORTED))
        except (DecodeError, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            logger.info("a program was hung up on: %s", error)
        finally:
            writer.close()

    async def _request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, Target | None]:
        methods = await socks5.read_greeting(reader)
        if socks5.NO_AUTHENTICATION not in methods:
            writer.write(bytes([socks5.VERSION, socks5.NO_ACCEPTABLE_METHOD]))
            raise DecodeError("it wants to authenticate, which is not supported")
        writer.write(bytes([socks5.VERSION, socks5.NO_AUTHENTICATION]))
        return await socks5.read_request(reader)

    async def _connect(
        self, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(LINK_WAIT):
                await self._linked.wait()
            assert self._carrier is not None
            stream = self._carrier.open(target)
        except (TimeoutError, ClosedError):
            writer.write(socks5.reply(Reply.NETWORK_UNREACHABLE))
            return
        try:
            await stream.answer()
            writer.write(socks5.reply(Reply.SUCCEEDED))
            await pipe(reader, writer, stream)
        except RefusedError as error:
            logger.info("%s: %s", target, error)
            writer.write(socks5.reply(Reply(error.code)))
        except ClosedError:
            writer.write(socks5.reply(Reply.NETWORK_UNREACHABLE))
        finally:
            stream.abort()

    # Datagrams

    async def _associate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay a program's datagrams for as long as its TCP connection lasts (RFC 1928, 7)."""
        here, there = writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]
        association = Association(next(self._flows), there, self._on_datagram)
        transport: Any
        transport, _ = await self._loop.create_datagram_endpoint(lambda: association, local_addr=(here, 0))
        self._associations[association.number] = association
        try:
            port = transport.get_extra_info("sockname")[1]
            writer.write(socks5.reply(Reply.SUCCEEDED, Target(ip_address(here), port)))
            while await reader.read(READ_SIZE):
                pass
        finally:
            del self._associations[association.number]
            association.close()
            if self._carrier is not None:
                self._carrier.forget_flow(association.number)

    def _on_datagram(self, flow: int, target: Target, payload: memoryview) -> None:
        if self._carrier is not None:
            self._carrier.send_datagram(flow, target, payload)

    def _on_answer(self, flow: int, source: Target, payload: bytes) -> None:
        association = self._associations.get(flow)
        if association is not None:
            association.deliver(source, payload)

    # Saying how it is

    def status(self) -> status.SocksStatus:
        """The state of this moment, derived from the last proof of life."""
        now = self._loop.time()
        link, welcome = self._link, self._welcome
        paths = status.paths(self._client)
        link_proof = link.last_received if link else None
        proof = self._standing.proof(link_proof)
        standing = self._standing.health(now, link_proof, "", paths)
        return status.SocksStatus(
            schema=status.SCHEMA,
            name=self._options.name,
            pid=os.getpid(),
            state=standing.state,
            reason=standing.reason,
            state_seconds=standing.seconds,
            address=self._client.address,
            listen=f"{self._options.host}:{self.port}",
            peer=str(self._options.peer),
            peer_name=welcome.name if welcome else "",
            networks=[str(route) for route in welcome.routes] if welcome else [],
            key_exchange_group=link.key_exchange_group if link else "",
            paths=paths,
            connected_seconds=now - self._standing.since if link else 0.0,
            silent_seconds=None if proof is None else now - proof,
            connections=len(self._carrier) if self._carrier else 0,
            associations=len(self._associations),
            bytes_in=link.bytes_in if link else 0,
            bytes_out=link.bytes_out if link else 0,
            rtt_ms=link.rtt * 1000 if link and link.rtt is not None else None,
        )
