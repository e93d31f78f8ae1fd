"""Our SDK as a peer of the tests."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nconnect import ncp
from nconnect.errors import NconnectError
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.listener import Listener
from nconnect.nkn.multiclient import Message, MultiClient
from nconnect.nkn.session import Session

from .peers import SUB_CLIENTS, TIMEOUT, Content, Kind, PeerError, Received, Stream

CHUNK = 64 * 1024
# A slow machine's JavaScript may need seconds to read what we wrote last, and close() waits for that.
SESSION = ncp.Config(linger=TIMEOUT)


class OurSession:
    """See `PeerSession`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    @property
    def remote_address(self) -> str:
        return self.session.remote_address

    async def exchange(self, size: int) -> tuple[str, str]:
        sent, received = await asyncio.gather(self.write(size), self._read(size))
        return sent, received.sha256

    async def echo(self) -> Stream:
        hashed, size = hashlib.sha256(), 0
        async with asyncio.timeout(TIMEOUT):
            while data := await self.session.read(CHUNK):
                hashed.update(data)
                size += len(data)
                await self.session.write(data)
        return Stream(size, hashed.hexdigest())

    async def write(self, size: int) -> str:
        data = os.urandom(size)
        async with asyncio.timeout(TIMEOUT):
            await self.session.write(data)
        return hashlib.sha256(data).hexdigest()

    async def read(self, size: int | None = None) -> Stream:
        return await self._read(size)

    async def close(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self.session.close()

    async def _read(self, size: int | None) -> Stream:
        hashed, got = hashlib.sha256(), 0
        async with asyncio.timeout(TIMEOUT):
            while size is None or got < size:
                data = await self.session.read(CHUNK if size is None else min(CHUNK, size - got))
                if not data:
                    break
                hashed.update(data)
                got += len(data)
        return Stream(got, hashed.hexdigest())


class OurPeer:
    """See `Peer`; made by `OurPeer.join`."""

    kind = Kind.OURS

    def __init__(self, client: MultiClient) -> None:
        self.client = client
        self._messages: asyncio.Queue[Received] = asyncio.Queue()
        self._mode = "ack"
        self._reply: Content = None
        self._listener: Listener | None = None

    @classmethod
    @asynccontextmanager
    async def join(
        cls, rpc_url: str, identifier: str, seed: bytes, sub_clients: int = SUB_CLIENTS, **options: Any
    ) -> AsyncIterator[OurPeer]:
        """A client with all its sub-clients ready; `options` are those of ClientConfig."""
        config = ClientConfig(seed_rpc=(rpc_url,), sub_clients=sub_clients, **options)
        async with MultiClient(KeyPair.from_seed(seed), identifier, config) as client:
            async with asyncio.timeout(TIMEOUT):
                await client.wait_paths(sub_clients)
            peer = cls(client)
            answering = asyncio.create_task(peer._answer())
            try:
                yield peer
            finally:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    @property
    def address(self) -> str:
        return self.client.address

    async def send(
        self,
        dest: str | list[str],
        content: str | bytes,
        *,
        no_reply: bool = False,
        unencrypted: bool = False,
        holding_seconds: int = 0,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  # the SDK's own
    ) -> Content:
        try:
            reply = await self.client.send(
                dest,
                content,
                no_reply=no_reply,
                encrypt=not unencrypted,
                max_holding_seconds=holding_seconds,
                reply_timeout=timeout,
            )
        except NconnectError as error:
            raise PeerError(str(error)) from error
        return reply.data if reply is not None else None

    async def answer(self, mode: str, content: Content = None) -> None:
        self._mode, self._reply = mode, content

    async def received(self) -> Received:
        async with asyncio.timeout(TIMEOUT):
            return await self._messages.get()

    async def listen(self, *accept: str) -> None:
        self._listener = self.client.listen(accept or None, SESSION)

    async def accept(self) -> OurSession:
        assert self._listener is not None
        async with asyncio.timeout(TIMEOUT):
            return OurSession(await self._listener.accept())

    async def dial(self, dest: str, timeout: float = TIMEOUT) -> OurSession:  # noqa: ASYNC109
        try:
            return OurSession(await self.client.dial(dest, SESSION, timeout))
        except NconnectError as error:
            raise PeerError(str(error)) from error

    async def _answer(self) -> None:
        async for message in self.client:
            self._messages.put_nowait(_received(message))
            if self._mode != "silent":
                await message.reply(self._reply if self._mode == "reply" else None)


def _received(message: Message) -> Received:
    return Received(message.src, message.data, message.encrypted, message.no_reply)
