"""One sub-client: finds its node, joins it, stays joined.

The life of a sub-client is `_run`: resolve → connect → join → ready, and again from the start when the
connection is lost, with a back-off. Texts and messages of the node come in by callback, in the order in
which it sent them. Source: nkn-sdk-go ``client.go``; nknd ``api/websocket/server``.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from nconnect.errors import DecodeError, NconnectError, NetworkError, ProtocolError
from nconnect.nkn.addresses import sub_client_address
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import (
    AUTH_CHALLENGE,
    MAX_FRAME_SIZE,
    SET_CLIENT,
    UPDATE_BLOCK_HASH,
    ErrorCode,
    Inbound,
    NodeInfo,
    NodeText,
    Signer,
    decode_frame,
    decode_node_text,
    encode_outbound,
    encode_receipt,
    encode_session_message,
    encode_set_client,
)
from nconnect.nkn.rpc import RPCClient
from nconnect.nkn.websocket import WebSocket

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Two nodes that each call the other the right one would send us back and forth for ever.
MAX_MOVES = 3
# A receipt repeats what the node asks to have signed (a hash or a signature, 32 or 64 bytes): no more than
# that.
MAX_PREV_HASH = 256
# The first retry comes after up to this part of the back-off, so that clients that lost a node do not
# return as one.
FIRST_RETRY = 0.25
# Then the back-off is this part of the outage: short after a short one, where the end is near, and polite to
# a network that is down for hours. Doubling is as polite, and waits a minute too long after one of a minute.
OUTAGE_PART = 1 / 32


# Bytes that may wait for the websocket before messages wait elsewhere: one of the largest size.
MAX_QUEUED = MAX_FRAME_SIZE


class State(enum.Enum):
    """Where a sub-client is on its way to being usable."""

    IDLE = "idle"
    RESOLVING = "resolving"
    CONNECTING = "connecting"
    JOINING = "joining"
    READY = "ready"
    WAITING = "waiting"
    FAILED = "failed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PathStatus:
    """What `MultiClient.paths` says of a sub-client."""

    index: int
    """Its number; -1 is the original client."""
    address: str
    """Its full address."""
    node: str
    """``host:port`` of its node; empty before it has one."""
    state: State
    since: float
    """When it came into this state, in seconds since 1970."""
    bytes_sent: int
    bytes_received: int
    error: str
    """Why the last attempt or connection ended; empty if none has."""
    turned: float = 0.0
    """When it last became ready or ceased to be, in seconds of time.monotonic(); first: when it was made."""
    was_ready: bool = False
    """Whether it is, or ever was."""


class Owner(Protocol):
    """What a sub-client tells the MultiClient."""

    def on_inbound(self, client: SubClient, message: Inbound) -> None:
        """A message came; it may raise ProtocolError, which costs the message."""

    def on_path(self, client: SubClient, *, lost: bool) -> None:
        """What it can do may have changed; ``lost``: what was sent on it last may not have arrived."""


class SubClient:
    """One address of a MultiClient on one node at a time."""

    def __init__(
        self, key: KeyPair, base: str, index: int, config: ClientConfig, rpc: RPCClient, owner: Owner
    ) -> None:
        self.index = index
        self.id = f"__{index}__" if index >= 0 else ""
        self.address = sub_client_address(base, index)
        self.state = State.IDLE
        self.error: Exception | None = None
        self.failures = 0
        """Attempts and short stays at a node, since it last stayed at one."""
        self._key = key
        self._config = config
        self._rpc = rpc
        self._owner = owner
        self._since = time.time()
        self._turned = time.monotonic()
        self._was_ready = False
        self._node: NodeInfo | None = None
        self._socket: WebSocket | None = None
        self._signer: Signer | None = None
        self._asked = False
        self._ready_at: float | None = None
        self._lost_at = -math.inf
        self._retry = asyncio.Event()
        self._asking: asyncio.Timeout | None = None
        self._move: NodeInfo | None = None
        self._refusal: NconnectError | None = None
        self._bytes_sent = self._bytes_received = 0
        self._task: asyncio.Task[None] | None = None
        self._blocked: deque[Callable[[SubClient], None]] = deque()

    # --- what the owner does with it ---

    @property
    def ready(self) -> bool:
        """Whether the node has accepted this client."""
        return self.state is State.READY

    @property
    def usable(self) -> bool:
        """Whether a session packet can be sent now: it is ready, and its websocket takes more."""
        return self.state is State.READY and self._socket is not None and self._socket.writable

    def when_usable(self, callback: Callable[[SubClient], None]) -> None:
        """Call back once when it is `usable` again; who asked first is called first, and may fill it again.

        Only those who have something to send ask: thousands of idle sessions cost nothing when a websocket
        fills and empties hundreds of times a second.
        """
        self._blocked.append(callback)

    @property
    def takes_message(self) -> bool:
        """Whether a message, which goes by every path at once, can be handed over now.

        Other than a session packet it cannot take another path instead: so it may wait behind those, up to
        a bound.
        """
        return self.ready and self._socket is not None and self._socket.queued < MAX_QUEUED

    @property
    def status(self) -> PathStatus:
        """A snapshot for people and logs."""
        sent, received = self._bytes_sent, self._bytes_received
        if self._socket is not None:
            sent, received = sent + self._socket.bytes_sent, received + self._socket.bytes_received
        return PathStatus(
            self.index,
            self.address,
            self._node.addr if self._node else "",
            self.state,
            self._since,
            sent,
            received,
            str(self.error or ""),
            self._turned,
            self._was_ready,
        )

    def start(self) -> None:
        """Begin to find a node; keeps trying until `close`, or until a node refuses this client for good."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"nkn sub-client {self.index}")

    async def close(self) -> None:
        """Leave the node."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._enter(State.CLOSED)

    def on_network_change(self) -> None:
        """This machine's addresses or routes have changed.

        A connection that comes from an address which is gone is left, and without one it tries again now.
        """
        if self._socket is not None and not self._socket.has_address():
            self._socket.abort("this machine lost the address that the connection came from")
        self._try_again()

    def on_wake(self) -> None:
        """The machine slept so long that nodes have given us up: begin anew."""
        if self._socket is not None:
            self._socket.abort("the machine slept")
        self._try_again()

    def send(self, dests: Sequence[str], envelopes: Sequence[bytes], max_holding_seconds: int) -> None:
        """Send envelopes to full addresses. Only while `takes_message`."""
        assert self._signer is not None and self._socket is not None
        frame = encode_outbound(self._signer, dests, envelopes, max_holding_seconds=max_holding_seconds)
        self._socket.send_binary(frame)

    def send_session(self, dest: str, plaintext: bytes, shared_key: bytes) -> None:
        """Seal and send one session payload to a full address. Only while `usable`."""
        assert self._signer is not None and self._socket is not None
        self._socket.send_binary(encode_session_message(self._signer, dest, plaintext, shared_key))

    # --- its life ---

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        moves = 0
        node: NodeInfo | None = None
        while True:
            self._retry.clear()
            try:
                if node is None:
                    self._enter(State.RESOLVING)
                    find = self._rpc.get_wss_addr if self._config.tls else self._rpc.get_ws_addr
                    node = await self._attempt(find(self.address))
                await self._stay_at(node)
            except (NetworkError, ProtocolError) as error:
                self.error = error
            except NconnectError as error:
                # Not the network's fault (no right to mark sockets, say): another attempt would say the same.
                self._refusal = error
            except Exception as error:
                logger.exception("sub-client %d: an error of the program", self.index)
                self.error = error
            if self._ready_at is not None and clock() - self._ready_at >= self._config.silence_timeout:
                self.failures = moves = 0
            self._ready_at = None
            if self._refusal is not None:
                self.error = self._refusal
                logger.warning("sub-client %d gives up: %s", self.index, self._refusal)
                self._enter(State.FAILED)
                return
            node, self._move = self._move, None
            if node is not None and moves < MAX_MOVES:
                moves += 1
                logger.debug("sub-client %d moves to %s", self.index, node.addr)
                self._enter(State.CONNECTING)
                continue
            node = None
            self.failures += 1
            if self.failures == 1:
                self._lost_at = clock()
            delay = self._backoff(self.failures, clock() - self._lost_at)
            logger.debug("sub-client %d: %s; again in %.1f s", self.index, self.error, delay)
            self._enter(State.WAITING)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._retry.wait()

    async def _attempt(self, asking: Awaitable[T]) -> T:
        """What is asked for; NetworkError once it cannot come any more, because the network has changed."""
        try:
            async with asyncio.timeout(None) as self._asking:
                return await asking
        except TimeoutError:
            raise NetworkError("this machine's network changed") from None
        finally:
            self._asking = None

    def _try_again(self) -> None:
        """Do not wait for what was asked before, nor for the back-off."""
        self._retry.set()
        if self._asking is not None:
            self._asking.reschedule(0.0)

    def _backoff(self, failures: int, outage: float) -> float:
        """Seconds until the next attempt, after so many failures in an outage of so many seconds."""
        config = self._config
        if failures == 1:
            return random.uniform(0, FIRST_RETRY) * config.reconnect_min
        most = min(max(config.reconnect_min, outage * OUTAGE_PART), config.reconnect_max)
        return random.uniform(0.75, 1) * most

    async def _stay_at(self, node: NodeInfo) -> None:
        """Join a node and stay until the connection is over; NetworkError says why it is."""
        config = self._config
        self._node = node
        self._enter(State.CONNECTING)
        timers: list[asyncio.TimerHandle] = []
        try:
            websocket = await self._attempt(
                WebSocket.connect(
                    node.addr,
                    self,
                    tls=config.tls_context(),
                    socket_mark=config.socket_mark,
                    connect_timeout=config.websocket_timeout,
                    ping_interval=config.ping_interval,
                    silence_timeout=config.silence_timeout,
                )
            )
            loop = asyncio.get_running_loop()
            late = config.challenge_timeout + config.join_timeout
            timers.append(loop.call_later(config.challenge_timeout, self._ask, None))
            timers.append(loop.call_later(late, self._give_up))
            reason = await websocket.wait_closed()
        finally:
            for timer in timers:
                timer.cancel()
            if self._socket is not None:
                await self._socket.close()
        raise NetworkError(f"node {node.addr}: {reason}")

    def on_connected(self, websocket: WebSocket) -> None:
        """The websocket is open."""
        self._socket, self._asked = websocket, False
        self._enter(State.JOINING)

    def on_disconnected(self) -> None:
        """The websocket is gone."""
        assert self._socket is not None
        self._bytes_sent += self._socket.bytes_sent
        self._bytes_received += self._socket.bytes_received
        self._socket = self._signer = None
        self._enter(State.WAITING)

    def _ask(self, challenge: bytes | None) -> None:
        if self._socket is not None and not self._asked:
            self._asked = True
            self._socket.send_text(encode_set_client(self.address, self._key, challenge))

    def _give_up(self) -> None:
        if self.state is State.JOINING and self._socket is not None:
            self._socket.drop("the node did not answer setClient")

    def _enter(self, state: State) -> None:
        was_ready, self.state = self.state is State.READY, state
        self._since = time.time()
        if self.ready != was_ready:
            self._turned, self._was_ready = time.monotonic(), True
        self._owner.on_path(self, lost=was_ready)
        self._unblock()

    def _unblock(self) -> None:
        while self._blocked and self.usable:
            self._blocked.popleft()(self)

    # --- what the node says ---

    def on_text(self, text: bytes) -> None:
        """A text of the node, from the websocket."""
        if self._socket is None:
            return
        try:
            self._on_node_text(decode_node_text(text))
        except DecodeError as error:
            self._socket.drop(f"the node's text makes no sense: {error}")

    def _on_node_text(self, text: NodeText) -> None:
        assert self._socket is not None
        if text.error == ErrorCode.WRONG_NODE:
            self._move = text.node
            self._socket.drop("another node is responsible for this client")
        elif text.error != ErrorCode.SUCCESS:
            self._on_error(text)
        elif text.action == AUTH_CHALLENGE:
            self._ask(text.challenge)
        elif text.action == SET_CLIENT and self.state is State.JOINING:
            node = text.node
            # The node's key is part of what each message signs; RPC has told it where it is left out here.
            self._node = node if node.public_key else self._node
            self._sign_with(text.block_hash)
            self.error = None
            self._ready_at = asyncio.get_running_loop().time()
            logger.debug("sub-client %d is at node %s", self.index, self._node and self._node.addr)
            self._enter(State.READY)
        elif text.action == UPDATE_BLOCK_HASH:
            self._sign_with(text.block_hash)

    def _on_error(self, text: NodeText) -> None:
        assert self._socket is not None and self._node is not None
        words = f"{text.error} {text.description}".strip()
        if text.action == SET_CLIENT and text.error == ErrorCode.INTERNAL_ERROR:
            # The node's own trouble, not ours: another attempt, perhaps at another node, may do.
            self._socket.drop(f"the node cannot serve us now: {words}")
        elif text.action == SET_CLIENT:
            self._refusal = NetworkError(f"node {self._node.addr} refuses {self.address}: {words}")
            self._socket.drop(words)
        else:
            logger.debug("sub-client %d: node says %s", self.index, words)

    def _sign_with(self, block_hash: bytes) -> None:
        assert self._node is not None
        self._signer = Signer(self._key, self.address, self._node.public_key, block_hash)

    def on_binary(self, frame: memoryview | bytes) -> None:
        """A message, from the websocket."""
        try:
            message = decode_frame(frame)
            if not isinstance(message, Inbound):
                raise DecodeError("a node sent what only clients send")
            if message.prev_hash:
                self._acknowledge(message.prev_hash)
            self._owner.on_inbound(self, message)
        except ProtocolError as error:
            logger.debug("sub-client %d: a message was dropped: %s", self.index, error)
        except Exception:
            # An error of the program that one peer can provoke must not cost the others their connection.
            logger.exception("sub-client %d: a message could not be handled", self.index)

    def _acknowledge(self, prev_hash: bytes) -> None:
        # Receipts earn relays their fee; they are not worth a queue when the websocket is full.
        if len(prev_hash) <= MAX_PREV_HASH and self._socket is not None and self._socket.writable:
            self._socket.send_binary(encode_receipt(self._key, prev_hash))

    def on_writable(self, writable: bool) -> None:
        """The websocket is full, or has room again."""
        self._owner.on_path(self, lost=False)
        self._unblock()
