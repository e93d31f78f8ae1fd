"""`nconnect tunnel`: one TCP port of one machine at another, as nkn-tunnel does it and compatible with it.

::

    program ── TCP ── Entry ══ one NKN session for each connection ══ Exit ── TCP ── server

The wire is nkn-tunnel's (github.com/nknorg/nkn-tunnel, tunnel.go): the bytes of a connection are those of a
session in stream mode, nothing before, between or after them. Whom the exit accepts is a matter of regular
expressions on NKN addresses. What is in a session is as secret as NKN's own envelope: see docs/security.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Never

from nconnect import ncp
from nconnect.config import NetworkSection
from nconnect.errors import NconnectError
from nconnect.forward import datagrams
from nconnect.forward.limits import raise_file_limit
from nconnect.forward.listening import listen, listen_datagrams
from nconnect.forward.liveness import Liveness
from nconnect.forward.pipe import READ_SIZE, SessionChannel, Traffic, keep_alive, pipe, reset
from nconnect.forward.socks5 import Target
from nconnect.forward.surroundings import following
from nconnect.forward.tasks import Tasks
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.nkn.sessions import MAX_SESSIONS_PER_PEER
from nconnect.tunnel import health, status

logger = logging.getLogger(__name__)

SESSION = ncp.Config(
    mtu=64 * 1024,
    dial_timeout=10.0,
    # A session ends for both directions at once, with what was written before its end, although its reader
    # may rest for a while. nkn-tunnel gives it 1 s in all.
    linger=60.0,
)
"""Between two of ours; with nkn-tunnel the MTU falls to its 1024."""
CONNECT_TIMEOUT = 10.0
"""Seconds for the server to answer: TCP has asked four times by then."""
MAX_CONNECTIONS = MAX_SESSIONS_PER_PEER
"""Connections of one entry: the exit, if it is ours, takes no more sessions of one key."""


@dataclass(frozen=True)
class TunnelOptions:
    """What `nconnect tunnel` was asked for. `near` is a port of this machine, or one that it reaches."""

    near: Target
    udp: bool
    name: str
    network: NetworkSection
    identifier: str = ""


class Tunnel(ABC):
    """What both ends share; `run` until cancelled."""

    def __init__(
        self, options: TunnelOptions, key: KeyPair, say: Callable[[str], None], identifier: str
    ) -> None:
        self._options = options
        self._key = key
        self._say = say
        self._client = self._new_client(options.identifier or identifier)
        self._liveness = Liveness(self._client, self._is_peer)
        self._connections = Tasks()
        self._traffic = Traffic()
        self._started = time.monotonic()
        self._failures = 0
        self._last_failure = ""
        self.failed: asyncio.Future[Never] = asyncio.get_running_loop().create_future()
        """Never set: nothing that it needs can be taken away."""
        self.ready = asyncio.Event()
        """Set when connections can be made."""

    def _new_client(self, identifier: str) -> MultiClient:
        network = self._options.network
        config = ClientConfig(seed_rpc=network.seed_rpc, sub_clients=network.sub_clients)
        return MultiClient(self._key, identifier, config)

    async def run(self) -> None:
        """Forward until cancelled.

        Raises:
            HostError: the port cannot be had.
            NetworkError: the NKN network could not be joined.
            UsageError: a pattern is not a regular expression.
        """
        raise_file_limit()
        liveness = asyncio.create_task(self._liveness.run())
        try:
            with following(*self._clients):
                await self._forward()
        finally:
            liveness.cancel()
            await self._connections.close()
            await self._client.close()

    @property
    def _clients(self) -> tuple[MultiClient, ...]:
        """Of this end, at least one."""
        return (self._client,)

    @abstractmethod
    def _is_peer(self, address: str) -> bool:
        """Whether this tunnel has sessions with `address`, or may have."""

    @abstractmethod
    async def _forward(self) -> None:
        """Join the network, say so, and forward until cancelled."""

    def _on_failure(self, error: str) -> None:
        self._failures += 1
        self._last_failure = error
        logger.warning("a connection was not made: %s", error)

    def _status(self, source: str, target: str, accept: tuple[str, ...], flows: int) -> status.TunnelStatus:
        paths = status.paths(self._client)
        standing = health.serving(self.ready.is_set(), time.monotonic() - self._started, paths)
        return status.TunnelStatus(
            schema=status.SCHEMA,
            name=self._options.name,
            pid=os.getpid(),
            state=standing.state,
            reason=standing.reason,
            state_seconds=standing.seconds,
            address=self._client.address,
            source=source,
            target=target,
            accept=list(accept),
            udp=self._options.udp,
            paths=paths,
            connections=len(self._connections),
            flows=flows,
            failures=self._failures,
            last_failure=self._last_failure,
            bytes_in=self._traffic.received,
            bytes_out=self._traffic.sent,
        )


class Entry(Tunnel):
    """From a port of this machine to the exit at `address`."""

    def __init__(
        self, options: TunnelOptions, address: str, key: KeyPair, say: Callable[[str], None]
    ) -> None:
        # An identifier of its own for each start: sessions of an earlier start cannot reach this one.
        super().__init__(options, key, say, f"tunnel-{secrets.token_hex(4)}")
        self._address = address
        self._datagrams = datagrams.NearEnd(self._client, address, self._traffic) if options.udp else None
        self.port = options.near.port
        """Where it listens, once it is ready."""

    async def _forward(self) -> None:
        host = str(self._options.near.host)
        server = await listen(host, self.port, self._on_program)
        self.port = server.sockets[0].getsockname()[1]
        try:
            if self._datagrams is not None:
                await listen_datagrams(host, self.port, self._datagrams)
            await self._client.connect()
            await server.start_serving()
            self._say(f"forwarding {host}:{self.port} to {self._address} as {self._client.address}")
            self.ready.set()
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
            if self._datagrams is not None:
                self._datagrams.close()

    def _is_peer(self, address: str) -> bool:
        return self._liveness.watches(address)

    def _on_program(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            self._on_failure(f"{MAX_CONNECTIONS} connections are open already")
            reset(writer)
            return
        self._connections.start(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            session = await self._client.dial(self._address, SESSION)
        except NconnectError as error:
            self._on_failure(str(error))
            reset(writer)
            return
        with self._liveness.watch(session):
            await pipe(reader, writer, SessionChannel(session, self._traffic))

    def status(self) -> status.TunnelStatus:
        """The state of this moment."""
        near = f"{self._options.near.host}:{self.port}"
        return self._status(near, self._address, (), len(self._datagrams or ()))


class Exit(Tunnel):
    """From this machine's NKN address to a server; only peers whose address matches `accept` get there."""

    def __init__(
        self, options: TunnelOptions, accept: tuple[str, ...], key: KeyPair, say: Callable[[str], None]
    ) -> None:
        # Instances have different names, so several tunnels and `nconnect serve` can share a key.
        super().__init__(options, key, say, options.name)
        self._accept = accept
        self._patterns = [re.compile(pattern) for pattern in accept]
        self._datagrams: datagrams.FarEnd | None = None
        if options.udp:
            client = self._new_client(datagrams.udp_identifier(options.identifier or options.name))
            self._datagram_client = client
            self._datagrams = datagrams.FarEnd(client, accept, options.near, self._traffic)

    async def _forward(self) -> None:
        listener = self._client.listen(self._accept, SESSION)
        async with contextlib.AsyncExitStack() as stack:
            await self._client.connect()
            if self._datagrams is not None:
                await stack.enter_async_context(self._datagram_client)
                task = asyncio.create_task(self._datagrams.run())
                stack.callback(task.cancel)
            self._say(f"forwarding {self._client.address} to {self._options.near}")
            self.ready.set()
            async for session in listener:
                self._connections.start(self._serve(session))

    @property
    def _clients(self) -> tuple[MultiClient, ...]:
        return (self._client,) if self._datagrams is None else (self._client, self._datagram_client)

    def _is_peer(self, address: str) -> bool:
        return any(pattern.search(address) for pattern in self._patterns)

    async def _serve(self, session: Session) -> None:
        with self._liveness.watch(session):
            await self._connect(session)

    async def _connect(self, session: Session) -> None:
        near = self._options.near
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                reader, writer = await asyncio.open_connection(str(near.host), near.port, limit=READ_SIZE)
        except (OSError, TimeoutError) as error:
            self._on_failure(f"{near} does not answer: {error}")
            session.abort()
            return
        keep_alive(writer)
        await pipe(reader, writer, SessionChannel(session, self._traffic))

    def status(self) -> status.TunnelStatus:
        """The state of this moment."""
        return self._status("nkn", str(self._options.near), self._accept, len(self._datagrams or ()))
