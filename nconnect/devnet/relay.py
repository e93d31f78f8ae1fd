"""From a sender's websocket message to its receivers' websockets.

This is the hot path: a session between two of us brings messages of 128 KiB, some thousand a second.
Source: nknd ``api/websocket/server/relay.go``.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from functools import partial

from nconnect.devnet.client import Client
from nconnect.devnet.config import DevnetConfig
from nconnect.devnet.frames import parse_single
from nconnect.devnet.holding import HeldMessages
from nconnect.devnet.node import Node
from nconnect.devnet.receipts import Receipts
from nconnect.devnet.ring import Placement
from nconnect.devnet.shaping import Shaper
from nconnect.devnet.stats import Stats
from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn.addresses import client_id
from nconnect.nkn.messages import (
    Outbound,
    Receipt,
    decode_frame,
    encode_inbound,
    public_key_of,
    verify_outbound,
)


class Relay:
    """Moves messages between the clients of all nodes of a devnet."""

    def __init__(
        self, config: DevnetConfig, nodes: Sequence[Node], stats: Stats, loop: AbstractEventLoop
    ) -> None:
        self.placement = Placement(config.places)
        self.held = HeldMessages()
        self._nodes = nodes
        self._stats = stats
        self._loop = loop
        self._verify = config.verify_signatures
        self._receipts = Receipts()
        self._shaper = Shaper([config.shape(node.index) for node in nodes], loop, stats)

    def close(self) -> None:
        """Lose what is under way."""
        self._shaper.close()

    def receive(self, sender: Client, node: int, frame: memoryview) -> None:
        """A binary message of a client of ``node``. What is wrong with it costs this message only."""
        stats = self._stats
        stats.received += 1
        stats.received_bytes += len(frame)
        if not sender.address:
            stats.malformed += 1
            return
        if not self._verify and (single := parse_single(frame)):
            dest, payload = single
            # Joined with its new head at once: the view is into the websocket's buffer.
            self._send(sender, node, dest, encode_inbound(sender.source, payload), 0)  # type: ignore[arg-type]
            return
        try:
            message = decode_frame(frame)
            if isinstance(message, Outbound):
                self._send_all(sender, node, message)
            elif isinstance(message, Receipt):
                stats.receipts += self._receipts.accept(message)
            else:
                stats.malformed += 1
        except DecodeError:
            stats.malformed += 1
        except CryptoError:
            stats.forged += 1

    def release(self, client: Client) -> None:
        """Hand a client that has just joined what was held for it."""
        for message in self.held.take(client.client_id, self._loop.time()):
            self._deliver([client], message)

    def expire(self) -> None:
        """Forget held messages whose time is over."""
        self._stats.expired += self.held.expire(self._loop.time())

    def _send_all(self, sender: Client, node: int, message: Outbound) -> None:
        if self._verify:
            verify_outbound(message, sender.address, self._nodes[node].key.public_key)
        frame = b""
        for index, dest in enumerate(message.dests):
            # One frame for all where they are alike: a message of 4 MiB may name ten thousand destinations.
            if self._verify:
                prev_hash = self._receipts.ask(message.signatures[index], public_key_of(dest))
                frame = encode_inbound(sender.source, message.payload_for(index), prev_hash)
            elif not frame or len(message.payloads) > 1:
                frame = encode_inbound(sender.source, message.payload_for(index))
            self._send(sender, node, dest, frame, message.max_holding_seconds)

    def _send(self, sender: Client, node: int, dest: str, frame: bytes, holding_seconds: int) -> None:
        destination = client_id(dest)
        target = self.placement.responsible(dest)
        if target is None:
            self._stats.absent += 1
        elif self._shaper.is_neutral(node, target):
            self._arrive(target, destination, dest, frame, holding_seconds)
        else:
            arrive = partial(self._arrive, target, destination, dest, frame, holding_seconds)
            self._shaper.carry(node, target, len(frame), sender.dice, arrive)

    def _arrive(self, target: int, destination: bytes, dest: str, frame: bytes, holding_seconds: int) -> None:
        clients = self._nodes[target].clients.get(destination)
        if clients:
            self._deliver(clients, frame)
        elif holding_seconds and _is_address(dest):
            self._stats.expired += self.held.add(destination, frame, self._loop.time() + holding_seconds)
        else:
            self._stats.absent += 1

    def _deliver(self, clients: Sequence[Client], frame: bytes) -> None:
        stats = self._stats
        for client in clients:
            if client.send_binary(frame):
                stats.delivered += 1
                stats.delivered_bytes += len(frame)
            else:
                stats.slow_reader += 1


def _is_address(text: str) -> bool:
    try:
        public_key_of(text)
    except DecodeError:
        return False
    return True
