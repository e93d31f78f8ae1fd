"""A devnet: nodes, a JSON-RPC server, and the time that passes for both."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import ssl
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from nconnect.devnet.certificate import make_certificate
from nconnect.devnet.chain import Chain
from nconnect.devnet.client import Backlog, Client
from nconnect.devnet.config import DevnetConfig, format_endpoint
from nconnect.devnet.ledger import Ledger
from nconnect.devnet.node import Node
from nconnect.devnet.relay import Relay
from nconnect.devnet.rpc import RPCServer
from nconnect.devnet.stats import Stats
from nconnect.errors import ConfigError
from nconnect.nkn.messages import NodeInfo

T = TypeVar("T")

# Clients are looked at this often between two pings: pings and time-outs are late by an eighth at most.
TICKS_PER_PING = 8


class Devnet:
    """An NKN network in this process, on this event loop, that official SDKs can join.

    Use it as an async context manager, or `start` and `close`. What it counted is in `stats`.
    """

    def __init__(self, config: DevnetConfig | None = None) -> None:
        self.config = config or DevnetConfig()
        self.stats = Stats()
        self.chain = Chain(self.config.seed)
        self.ledger = Ledger(self.chain, *self.config.funds(), instant=self.config.instant)
        self.certificate = ""
        """With ``tls``: what clients are to trust, in PEM."""
        backlog = Backlog()
        self.nodes = [Node(index, self, backlog) for index in range(self.config.nodes)]
        self._rpc = RPCServer(self)
        self._rpc_port = 0
        self._tls: ssl.SSLContext | None = None
        self._relay_or_none: Relay | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Devnet:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen on all ports; ConfigError if one of them cannot be had (then nothing is left open)."""
        host, port = self.config.endpoint
        loop = asyncio.get_running_loop()
        self._relay_or_none = Relay(self.config, self.nodes, self.stats, loop)
        if self.config.tls:
            made = make_certificate(self._names())
            self.certificate, self._tls = made.certificate, made.server_context()
        try:
            for node in self.nodes:
                first = port + 1 + node.index
                await self._start(node, *(first, first + len(self.nodes)) if port else (0, 0))
            # Last, so that nobody finds the network before it is complete.
            self._rpc_port = await _listen(self._rpc.start(host, port), "the RPC server", host, port)
        except ConfigError:
            await self.close()
            raise
        self._tasks = [loop.create_task(self._watch_clients()), loop.create_task(self._make_blocks())]

    async def close(self) -> None:
        """Cut all clients off and free the ports."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        for node in self.nodes:
            node.stop()
            await node.wait_stopped()
        await self._rpc.close()
        if self._relay_or_none is not None:
            self._relay_or_none.close()

    async def stop_node(self, index: int) -> None:
        """Kill a node: its clients are cut off, and its share of the ring goes to the node before it."""
        node = self.nodes[index]
        node.stop()
        self._place_clients()
        await node.wait_stopped()

    async def start_node(self, index: int) -> None:
        """Bring a killed node back, on its old port; its clients are told to come back to it."""
        node = self.nodes[index]
        if not node.is_up:
            await self._start(node, node.port, node.tls_port)

    def make_block(self) -> None:
        """Make the next block now, rather than when ``block_interval`` is over."""
        self.chain.advance()
        self.ledger.make_block()
        for node in self.nodes:
            node.announce_block()

    @property
    def rpc_url(self) -> str:
        """Where clients find the network: what goes into ``--seed-rpc``."""
        return f"http://{format_endpoint(self._host(_loopback(self.config.endpoint[0])), self._rpc_port)}"

    @property
    def held(self) -> int:
        """How many messages are kept for absent clients."""
        return len(self._relay.held)

    # --- what nodes, the relay and the RPC server ask ---

    def responsible(self, address: str) -> int | None:
        """The index of the node that serves a client; None if none is up."""
        return self._relay.placement.responsible(address)

    @property
    def has_tls(self) -> bool:
        """Whether nodes serve TLS too."""
        return self.config.tls

    def node_info(self, index: int, reached_host: str, *, tls: bool = False) -> NodeInfo:
        """A node as it is made known to a client that reached us at the address ``reached_host``."""
        node = self.nodes[index]
        host = self._host(reached_host)
        return NodeInfo(
            format_endpoint(host, node.tls_port if tls else node.port),
            format_endpoint(host, self._rpc_port),
            node.key.public_key,
            node.id,
        )

    def relay(self, sender: Client, node: int, frame: memoryview) -> None:
        """A binary message from a client of ``node``."""
        self._relay.receive(sender, node, frame)

    def release(self, client: Client) -> None:
        """Hand a client that has just joined what was held for it."""
        self._relay.release(client)

    # --- details ---

    @property
    def _relay(self) -> Relay:
        assert self._relay_or_none is not None, "the devnet has not been started"
        return self._relay_or_none

    def _host(self, reached_host: str) -> str:
        if self.config.advertise is not None:
            return self.config.advertise
        host = self.config.endpoint[0]
        if not _is_wildcard(host):
            return host
        # A dual-stack socket shows IPv4 addresses mapped into IPv6.
        return reached_host.removeprefix("::ffff:")

    def _names(self) -> list[str]:
        """What clients may call this machine: the certificate's names."""
        host = self.config.endpoint[0]
        names = ["localhost", "127.0.0.1", "::1", host, self.config.advertise or host]
        return list(dict.fromkeys(names))

    async def _start(self, node: Node, port: int, tls_port: int) -> None:
        host = self.config.endpoint[0]
        await _listen(node.start(host, port), f"node {node.index}", host, port)
        if self._tls is not None:
            try:
                start = node.start_tls(host, tls_port, self._tls)
                await _listen(start, f"node {node.index} with TLS", host, tls_port)
            except ConfigError:
                node.stop()
                raise
        self._place_clients()

    def _place_clients(self) -> None:
        """The set of nodes has changed. (A real node looks for clients that it lost once a minute.)"""
        self._relay.placement.set_nodes((node.id, node.index) for node in self.nodes if node.is_up)
        for node in self.nodes:
            if node.is_up:
                node.send_away()

    async def _watch_clients(self) -> None:
        """Ping clients, drop those that are gone, forget held messages whose time is over."""
        loop = asyncio.get_running_loop()
        ping, silence = self.config.ping_interval, self.config.silence_timeout
        while True:
            await asyncio.sleep(ping / TICKS_PER_PING)
            now = loop.time()
            for client in [client for node in self.nodes for client in node.connections]:
                if not client.tick(now, ping, silence):
                    self.stats.dropped_clients += 1
                    client.abort()
            self._relay.expire()

    async def _make_blocks(self) -> None:
        while True:
            await asyncio.sleep(self.config.block_interval)
            self.make_block()


async def _listen(start: Coroutine[Any, Any, T], what: str, host: str, port: int) -> T:
    """Await the start of a server; ConfigError says what stands in its way."""
    try:
        return await start
    except OSError as error:
        endpoint = format_endpoint(host, port)
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{what} cannot listen on {endpoint}: the port is taken; choose another with --listen"
            ) from error
        raise ConfigError(f"{what} cannot listen on {endpoint}: {error.strerror or error}") from error


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _loopback(host: str) -> str:
    """Where to reach a wildcard address on this machine."""
    return "::1" if ":" in host else "127.0.0.1"
