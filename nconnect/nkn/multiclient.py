"""The NKN client that applications use: several sub-clients, each on a node of its own, seen as one address.

A message goes out by every sub-client and the first copy that arrives counts, so that no single relay can
lose or delay it. Sessions spread their packets over the sub-clients instead. Source: nkn-sdk-go
``multiclient.go``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from nconnect import ncp
from nconnect.errors import ClosedError, CryptoError, DialTimeoutError, NetworkError, UsageError
from nconnect.nkn import dialling
from nconnect.nkn.account import Account
from nconnect.nkn.addresses import Address, sub_client_address
from nconnect.nkn.chain import Chain
from nconnect.nkn.client import PathStatus, SubClient
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.destinations import Destinations
from nconnect.nkn.inbox import Inbox, Seen
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.listener import Listener
from nconnect.nkn.messages import (
    Inbound,
    Payload,
    PayloadType,
    batches,
    decode_payload,
    encode_payload,
    encode_session_payload,
    message_payload,
    new_message_id,
    open_envelope,
    public_key_of,
    reply_payload,
    seal_many,
    seal_nothing,
)
from nconnect.nkn.paths import Paths
from nconnect.nkn.pubsub import PubSub
from nconnect.nkn.rpc import RPCClient
from nconnect.nkn.session import Session
from nconnect.nkn.sessions import Dial, SessionTable
from nconnect.nkn.sources import Source, Sources
from nconnect.nkn.streams import Streams

logger = logging.getLogger(__name__)
# What the field of OutboundMessage can say.
MAX_HOLDING_SECONDS = 2**32 - 1


class Message:
    """A message or reply from a peer. ``data`` is a string, bytes, or None for a bare acknowledgement."""

    __slots__ = ("_client", "data", "encrypted", "id", "no_reply", "src")

    def __init__(
        self, client: MultiClient, src: str, data: str | bytes | None, encrypted: bool, payload: Payload
    ) -> None:
        self._client = client
        self.src: str = src
        self.data: str | bytes | None = data
        self.encrypted: bool = encrypted
        self.id: bytes = payload.message_id
        self.no_reply: bool = payload.no_reply

    def __repr__(self) -> str:
        return f"<Message {self.id.hex()} from {self.src}>"

    async def reply(self, data: str | bytes | None = None) -> None:
        """Answer the sender; None only acknowledges. Nothing is sent if the sender wants no answer."""
        if not self.no_reply and self.id:
            await self._client._send([self.src], reply_payload(data, self.id), encrypt=self.encrypted)


class _Pending(NamedTuple):
    """Who waits for the reply to a message, and from whom it may come."""

    future: asyncio.Future[Message]
    dests: frozenset[str]


class MultiClient(PubSub, Streams):
    """An NKN client with several independent paths.

    Use it as an async context manager, or `connect` and `close`.
    """

    def __init__(self, key: KeyPair, identifier: str = "", config: ClientConfig | None = None) -> None:
        self.key: KeyPair = key
        self.config: ClientConfig = config or ClientConfig()
        self.address: str = str(Address.parse(str(Address(identifier, key.public_key))))
        self._rpc = RPCClient.from_config(self.config)
        self.chain: Chain = Chain(self._rpc)
        self.account: Account = Account(key, self.chain)
        self._destinations = Destinations(self.chain, self.config)
        first = -1 if self.config.original else 0
        self._clients = [
            SubClient(key, self.address, index, self.config, self._rpc, self)
            for index in range(first, self.config.sub_clients)
        ]
        self._paths = Paths(self._clients, self.config)
        self._sources = Sources(key)
        self._seen = Seen()
        self._inbox: Inbox[Message] = Inbox()
        self._message_came = asyncio.Event()
        self._pending: dict[bytes, _Pending] = {}
        self._sessions = SessionTable()
        self._listener: tuple[Listener, ncp.Config] | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- joining and leaving the network ---

    async def connect(self) -> None:
        """Join the network; returns when the first sub-client is ready, the others follow.

        NetworkError names what was tried if none is ready within ``connect_timeout``, or if each has failed
        ``connect_attempts`` times; the client is closed then.
        """
        if self._paths.closed:
            raise ClosedError("the NKN client is closed")
        for client in self._clients:
            client.start()
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                await self._paths.wait_first()
        except TimeoutError:
            logger.debug("no sub-client was ready in time")
        except BaseException:
            await self.close()
            raise
        if not self._paths.ready():
            await self.close()
            raise self._paths.why_not("cannot join the NKN network")

    async def close(self) -> None:
        """End all sessions in good order, as long as their data gets on; then leave the nodes."""
        if self._paths.closed:
            return
        self._paths.closed = True
        if self._listener is not None:
            self._listener[0].close()
        await asyncio.gather(*(session.close() for session in self._sessions))
        await asyncio.gather(*(client.close() for client in self._clients))
        self._message_came.set()
        for pending in self._pending.values():
            if not pending.future.done():
                pending.future.set_exception(ClosedError("the NKN client was closed"))

    @property
    def paths(self) -> tuple[PathStatus, ...]:
        """The state of each sub-client."""
        return tuple(client.status for client in self._clients)

    async def wait_paths(self, count: int) -> None:
        """Wait until at least ``count`` sub-clients are ready; ClosedError if the client is closed."""
        await self._paths.wait_for(lambda: len(self._paths.ready()) >= count)

    @property
    def dropped(self) -> int:
        """Messages and dials that were dropped because their sender, or all together, sent too many."""
        return self._inbox.dropped + self._sessions.refused

    def on_path(self, client: SubClient, *, lost: bool) -> None:
        """From a sub-client: what it can do has changed."""
        self._paths.on_change(client)
        if lost:
            for session in self._sessions:
                session.on_path_lost(client)

    def on_network_change(self) -> None:
        """This machine's addresses or routes have changed: wait for nothing that cannot come any more."""
        for client in self._clients:
            client.on_network_change()

    def on_wake(self) -> None:
        """The machine has slept: nodes have given us up, although nothing tells us so."""
        for client in self._clients:
            client.on_wake()

    # --- messages ---

    async def send(
        self,
        dest: str | Sequence[str],
        data: str | bytes,
        *,
        no_reply: bool = False,
        max_holding_seconds: int = 0,
        reply_timeout: float | None = None,
        encrypt: bool = True,
    ) -> Message | None:
        """Send a message to one or several addresses or registered names.

        Returns the first reply or acknowledgement; None at once with ``no_reply``, which tells the
        receivers not to answer. The node of an absent receiver holds the message for
        ``max_holding_seconds``. NetworkError if no reply came in ``reply_timeout``.
        """
        if not 0 <= max_holding_seconds <= MAX_HOLDING_SECONDS:
            raise UsageError(f"max_holding_seconds must be 0 to {MAX_HOLDING_SECONDS}")
        dests = [await self.resolve(name) for name in ([dest] if isinstance(dest, str) else dest)]
        if not dests:
            raise UsageError("a message needs at least one destination")
        payload = message_payload(data, new_message_id(), no_reply=no_reply)
        if no_reply:
            await self._send(dests, payload, encrypt=encrypt, max_holding_seconds=max_holding_seconds)
            return None
        timeout = self.config.reply_timeout if reply_timeout is None else reply_timeout
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[payload.message_id] = _Pending(future, frozenset(dests))
        try:
            async with asyncio.timeout(timeout):
                await self._send(dests, payload, encrypt=encrypt, max_holding_seconds=max_holding_seconds)
                return await future
        except TimeoutError:
            raise NetworkError(f"{', '.join(dests[:3])} did not reply in {timeout:g} s") from None
        finally:
            del self._pending[payload.message_id]

    async def resolve(self, dest: str) -> str:
        """The address that a destination stands for: an address, a name that one of the configured resolvers
        knows, or a registered name in the place of the public key. AddressError if it stands for none."""
        return await self._destinations.resolve(dest)

    async def _send(
        self, dests: list[str], payload: Payload, *, encrypt: bool, max_holding_seconds: int = 0
    ) -> None:
        plaintext = encode_payload(payload)
        if encrypt:
            keys = [self.key.shared_key(public_key_of(dest)) for dest in dests]
            envelopes = seal_many(plaintext, keys)
        else:
            envelopes = [seal_nothing(plaintext)]
        # All of them before the first is sent: one that is too large is refused as a whole.
        for batch_dests, batch_envelopes in list(batches(dests, envelopes)):
            try:
                async with asyncio.timeout(self.config.reply_timeout):
                    await self._paths.wait_for(lambda: any(client.takes_message for client in self._clients))
            except TimeoutError:
                raise self._paths.why_not("cannot send") from None
            for client in self._clients:
                if client.takes_message:
                    full = [sub_client_address(dest, client.index) for dest in batch_dests]
                    client.send(full, batch_envelopes, max_holding_seconds)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends when the client is closed."""
        while True:
            message = self._inbox.get()
            if message is not None:
                return message
            if self._paths.closed:
                raise StopAsyncIteration
            self._message_came.clear()
            await self._message_came.wait()

    # --- what comes in ---

    def on_inbound(self, client: SubClient, message: Inbound) -> None:
        """From a sub-client: a message came. ProtocolError costs the message."""
        source = self._sources.get(message.src)
        allow = self.config.accept_unencrypted
        plaintext, encrypted = open_envelope(message.payload, source.shared_key, allow_unencrypted=allow)
        payload = decode_payload(plaintext)
        if payload.type is PayloadType.SESSION:
            if not encrypted:
                raise CryptoError("an unencrypted session packet was refused")
            self._on_session_packet(client, source, payload)
        else:
            self._on_message(source, payload, encrypted)

    def _on_message(self, source: Source, payload: Payload, encrypted: bool) -> None:
        data: str | bytes | None = payload.data
        if payload.type is PayloadType.TEXT:
            data = payload.text
        elif payload.type is PayloadType.ACK:
            data = None
        message = Message(self, source.address, data, encrypted, payload)
        if payload.reply_to_id:
            pending = self._pending.get(payload.reply_to_id)
            if pending is not None and source.address in pending.dests and not pending.future.done():
                pending.future.set_result(message)
            return
        now = asyncio.get_running_loop().time()
        if data is None or not self._seen.first(source.public_key, payload.message_id, now):
            return
        if self._inbox.put(source.public_key, len(payload.data), message):
            self._message_came.set()
        else:
            logger.debug("a message of %s was dropped: too many wait to be read", source.address)

    def _on_session_packet(self, client: SubClient, source: Source, payload: Payload) -> None:
        session = self._sessions.get(source.address, payload.message_id)
        if session is not None:
            session.on_packet(payload.data, client.id, source.remote_id)
            return
        dial = Dial(
            source.address,
            source.public_key,
            payload.message_id,
            payload.data,
            client.id,
            source.remote_id,
            asyncio.get_running_loop().time(),
        )
        if close := self._sessions.owed_close(dial):
            if client.usable:
                sender = f"{source.remote_id}.{source.address}" if source.remote_id else source.address
                answer = encode_session_payload(payload.message_id, close)
                client.send_session(sender, answer, source.shared_key)
            return
        if self._sessions.on_dial(dial) and self._listener is not None:
            self._listener[0].wake()

    # --- sessions ---

    async def dial(
        self,
        remote: str,
        config: ncp.Config | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # goes into the protocol's own timer
    ) -> Session:
        """Open a session with a peer that listens.

        DialTimeoutError if it does not answer in ``timeout`` (default: ``config.dial_timeout``);
        NetworkError if this client has no path to the network for so long.
        """
        config = config or ncp.Config()
        if timeout is not None:
            config = dataclasses.replace(config, dial_timeout=timeout)
        address = await self.resolve(remote)
        if address == self.address:
            raise UsageError(f"{address} is this client: a session needs two")
        try:
            return await dialling.race(partial(self._dial_once, address, config), config.dial_timeout)
        except DialTimeoutError as error:
            count = len(self._paths.ready())
            raise DialTimeoutError(
                f"{address} did not answer in {config.dial_timeout:g} s over {count} paths: "
                "is it running, listening, and does it accept this key?"
            ) from error

    async def _dial_once(self, address: str, config: ncp.Config, seconds: float) -> Session:
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(deadline):
                await self._paths.wait_most()
        except TimeoutError:
            raise self._paths.why_not(f"cannot dial {address}") from None
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        config = dataclasses.replace(config, dial_timeout=left)
        session = self._new_session(config, address, public_key_of(address), new_message_id())
        try:
            session.dial()
            await session.wait_established()
        except BaseException:
            session.abort()
            raise
        return session

    def listen(
        self,
        accept: Sequence[str] | None = None,
        config: ncp.Config | None = None,
        hears: Callable[[str], bool] | None = None,
    ) -> Listener:
        """Accept sessions of peers whose address one of the regular expressions finds; None: of everybody.

        The address is the peer's without sub-client prefix, and an expression need not match all of it (as
        with nkn-sdk-go): ``<public key>$`` accepts a key with any identifier. One listener at a time.

        ``hears`` is asked before a dial costs more than its decryption, by the peer's address; what it does
        not hear gets no answer, and is asked for again when the peer repeats it, as all do for some seconds.
        """
        if self._listener is not None:
            raise UsageError("this client listens already: close its listener first")
        self._sessions.listen(accept, hears)
        listener = Listener(self._accept, self._stop_listening, self._paths.wait_most)
        self._listener = listener, config or ncp.Config()
        return listener

    def _accept(self) -> Session | None:
        dial = self._sessions.next_dial(asyncio.get_running_loop().time())
        if dial is None or self._listener is None:
            return None
        _, config = self._listener
        session = self._new_session(config, dial.remote_address, dial.remote_public_key, dial.session_id)
        try:
            session.answer(dial.packet, dial.local_id, dial.remote_id)
        except BaseException:
            session.abort()
            raise
        return session

    def _stop_listening(self) -> None:
        self._sessions.ignore()
        self._listener = None

    def _new_session(
        self, config: ncp.Config, remote_address: str, remote_public_key: bytes, session_id: bytes
    ) -> Session:
        window = self._sessions.window(remote_public_key, config.window_size)
        session = Session(
            dataclasses.replace(config, window_size=window),
            self._paths.ready(),
            remote_address=remote_address,
            remote_public_key=remote_public_key,
            shared_key=self.key.shared_key(remote_public_key),
            session_id=session_id,
            on_end=self._on_session_end,
        )
        self._sessions.add(session)
        return session

    def _on_session_end(self, session: Session) -> None:
        self._sessions.remove(session, asyncio.get_running_loop().time())
