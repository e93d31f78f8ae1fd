"""UDP ASSOCIATE at the user: the socket where one program hands in its datagrams and gets the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from nconnect.errors import DecodeError
from nconnect.forward import socks5
from nconnect.forward.socks5 import Target

logger = logging.getLogger(__name__)

Send = Callable[[int, Target, memoryview], None]


class Association(asyncio.DatagramProtocol):
    """The datagrams of one program, which is at `client` (an IP address as text); `number` is their flow.

    The first datagram says the program's port; those that come from elsewhere are dropped (RFC 1928, 7).
    """

    def __init__(self, number: int, client: str, send: Send) -> None:
        self.number = number
        self._client = client
        self._send = send
        self._address: Any = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        if self._address is None and address[0] == self._client:
            self._address = address
        if address != self._address:
            return
        try:
            target, payload = socks5.decode_datagram(data)
        except DecodeError as error:
            logger.debug("a datagram of %s was dropped: %s", address, error)
            return
        self._send(self.number, target, payload)

    def error_received(self, error: Exception) -> None:
        logger.debug("a datagram to %s was lost: %s", self._address, error)

    def deliver(self, source: Target, payload: bytes) -> None:
        """Hand an answer to the program."""
        if self._transport is not None and self._address is not None:
            self._transport.sendto(socks5.encode_datagram(source, payload), self._address)

    def close(self) -> None:
        """No more datagrams."""
        if self._transport is not None:
            self._transport.abort()
