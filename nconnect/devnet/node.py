"""One node: its keys, its websocket server, its clients, and how a client joins it.

Source: nknd ``api/websocket/server/server.go``, whose order of checks and error codes this follows.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import ssl
from typing import Any, Protocol

import msgspec
from picows import WSUpgradeRequest, ws_create_server

from nconnect.devnet.chain import Chain
from nconnect.devnet.client import Backlog, Client
from nconnect.devnet.config import DevnetConfig
from nconnect.devnet.ring import node_id
from nconnect.devnet.stats import Stats
from nconnect.errors import AddressError, CryptoError
from nconnect.nkn.addresses import Address, client_id
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import (
    CHALLENGE_SIZE,
    MAX_FRAME_SIZE,
    SET_CLIENT,
    ErrorCode,
    NodeInfo,
    SetClient,
    encode_block_hash,
    encode_challenge,
    encode_joined,
    encode_node_text,
    verify_challenge,
)


class Network(Protocol):
    """What a node needs of the devnet that it is part of."""

    config: DevnetConfig
    chain: Chain
    stats: Stats

    def responsible(self, address: str) -> int | None:
        """The index of the node that serves a client."""

    def node_info(self, index: int, reached_host: str, *, tls: bool = False) -> NodeInfo:
        """A node as it is made known to a client that reached ``reached_host``."""

    def relay(self, sender: Client, node: int, frame: memoryview) -> None:
        """A binary message from a client of ``node``."""

    def release(self, client: Client) -> None:
        """Hand a client that has just joined what was held for it."""


class Node:
    """A node of a devnet; `start` and `stop` may alternate."""

    def __init__(self, index: int, network: Network, backlog: Backlog) -> None:
        self.index = index
        seed = f"nconnect devnet node {network.config.seed} {index}".encode()
        self.key = KeyPair.from_seed(hashlib.sha256(seed).digest())
        self.id = node_id(index, network.config.nodes, self.key.public_key)
        self.port = 0
        """Where it listens; stays the same when the node is stopped and started."""
        self.tls_port = 0
        """The same for TLS; 0 without."""
        self.connections: set[Client] = set()
        """All websockets, joined or not."""
        self.clients: dict[bytes, list[Client]] = {}
        """Those that joined, by client ID; a client may have several."""
        self._network = network
        self._backlog = backlog
        self._servers: list[asyncio.Server] = []
        self._no_connections = asyncio.Event()
        self._no_connections.set()

    @property
    def is_up(self) -> bool:
        """True between `start` and `stop`."""
        return bool(self._servers)

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError if that is not possible."""
        self.port = await self._listen(host, port, None)

    async def start_tls(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen on another port too, with TLS; OSError if that is not possible."""
        self.tls_port = await self._listen(host, port, context)

    async def _listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        def accept(_: WSUpgradeRequest) -> Client:
            return Client(self, self._backlog)

        server = await ws_create_server(
            accept,
            host,
            port,
            ssl=tls,
            enable_auto_pong=False,
            max_frame_size=MAX_FRAME_SIZE,
            logger_name="devnet",
        )
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def stop(self) -> None:
        """Stop listening and cut all clients off."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for client in list(self.connections):
            client.abort()

    async def wait_stopped(self) -> None:
        """Return when `stop` has taken effect: the ports are free, and all clients are cut off.

        The servers' own ``wait_closed`` does not serve: aiofastnet 1.2's never returns if a client went away
        while its connection was being accepted.
        """
        await self._no_connections.wait()

    # --- called by clients ---

    def connected(self, client: Client) -> None:
        """A websocket is open: challenge it."""
        self.connections.add(client)
        self._no_connections.clear()
        if not self.is_up:
            # It was being accepted when the node stopped.
            client.abort()
            return
        client.challenge = os.urandom(CHALLENGE_SIZE)
        client.send_text(encode_challenge(client.challenge))

    def disconnected(self, client: Client) -> None:
        """A websocket is closed."""
        self.connections.discard(client)
        if not self.connections:
            self._no_connections.set()
        self._leave(client)

    def receive_binary(self, client: Client, frame: memoryview) -> None:
        """One binary message; the view is valid during the call only."""
        self._network.relay(client, self.index, frame)

    def receive_text(self, client: Client, text: bytes) -> None:
        """One JSON text: a request, which is answered."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            request = None
        if not isinstance(request, dict):
            client.send_text(encode_node_text("", ErrorCode.ILLEGAL_DATA_FORMAT, ""))
        elif request.get("Action") != SET_CLIENT:
            client.send_text(encode_node_text("", ErrorCode.INVALID_METHOD, ""))
        elif not isinstance(request.get("Addr", ""), str):
            client.send_text(encode_node_text("", ErrorCode.INVALID_PARAMS, ""))
        else:
            self._set_client(client, request)

    # --- joining ---

    def _set_client(self, client: Client, request: dict[str, Any]) -> None:
        try:
            text = request.get("Addr", "")
            address = Address.parse(text)
        except AddressError:
            self._refuse(client, ErrorCode.INVALID_PARAMS)
            return
        responsible = self._network.responsible(text)
        if responsible is not None and responsible != self.index:
            right = self._network.node_info(responsible, client.reached_host, tls=client.has_tls)
            self._refuse(client, ErrorCode.WRONG_NODE, right.to_json())
            return
        # A client that does not prove its key is let in, as nknd lets in clients of before the challenge.
        if "Signature" in request and "ClientSalt" in request:
            error = _check_proof(address.public_key, client.challenge, request)
            if error is not ErrorCode.SUCCESS:
                self._refuse(client, error)
                if error is ErrorCode.INVALID_SIGNATURE:
                    delay = self._network.config.refusal_delay
                    asyncio.get_running_loop().call_later(delay, client.abort)
                return
        self._join(client, text, address)

    def _refuse(self, client: Client, error: ErrorCode, result: object = None) -> None:
        self._network.stats.refused += 1
        client.send_text(encode_node_text(SET_CLIENT, error, result))

    def _join(self, client: Client, text: str, address: Address) -> None:
        self._leave(client)
        client.address = text
        client.source = str(address)
        client.client_id = client_id(text)
        client.dice = random.Random(f"{self._network.config.seed} {text}")
        self.clients.setdefault(client.client_id, []).append(client)
        self._network.stats.joined += 1
        info = self._network.node_info(self.index, client.reached_host, tls=client.has_tls)
        client.send_text(encode_joined(info, self._network.chain.sig_chain_block_hash))
        self._network.release(client)

    def _leave(self, client: Client) -> None:
        siblings = self.clients.get(client.client_id)
        if siblings and client in siblings:
            siblings.remove(client)
            if not siblings:
                del self.clients[client.client_id]

    # --- called by the devnet ---

    def announce_block(self) -> None:
        """Tell every websocket the block hash to put into its messages from now on."""
        text = encode_block_hash(self._network.chain.sig_chain_block_hash)
        for client in self.connections:
            client.send_text(text)

    def send_away(self) -> None:
        """Tell clients that another node has become responsible for to go there."""
        for clients in list(self.clients.values()):
            responsible = self._network.responsible(clients[0].address)
            if responsible is None or responsible == self.index:
                continue
            for client in clients:
                right = self._network.node_info(responsible, client.reached_host, tls=client.has_tls)
                client.send_text(encode_node_text("", ErrorCode.WRONG_NODE, right.to_json()))


def _check_proof(public_key: bytes, challenge: bytes, request: dict[str, Any]) -> ErrorCode:
    """SUCCESS if the request is signed by the key, or the code that nknd answers with."""
    salt, signature = request["ClientSalt"], request["Signature"]
    if not isinstance(salt, str) or not isinstance(signature, str):
        return ErrorCode.INVALID_PARAMS
    try:
        proof = SetClient(request["Addr"], bytes.fromhex(salt), bytes.fromhex(signature))
    except ValueError:
        return ErrorCode.ILLEGAL_DATA_FORMAT
    try:
        verify_challenge(public_key, challenge, proof)
    except CryptoError:
        return ErrorCode.INVALID_SIGNATURE
    return ErrorCode.SUCCESS
