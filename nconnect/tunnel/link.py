"""A link: everything between us and one peer, end to end.

NKN session → frames → TLS 1.3 control channel → data keys → batches. The relays see none of what is inside.

Call contract: `await Link.open(...)` makes the TLS handshake and returns a link whose peer holds the key in
its NKN address, or raises. Then `queue` packets and `flush` the batch, `send` and `await receive` control
messages; what arrives comes through the `on_batch`, `on_room` and `on_closed` attributes. `close` ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from nconnect.errors import (
    ClosedError,
    DecodeError,
    DialTimeoutError,
    NconnectError,
    ProtocolError,
)
from nconnect.ncp import Config as SessionConfig
from nconnect.ncp import Mode
from nconnect.nkn.session import Session
from nconnect.packet import virtio
from nconnect.packet.batch import LENGTH_SIZE, BatchWriter
from nconnect.packet.coalesce import Coalescer
from nconnect.packet.ip import MAX_PACKET
from nconnect.packet.queue import INTERVAL, FlowQueue, QueueStats
from nconnect.packet.segment import segment, split
from nconnect.secure.channel import ControlChannel
from nconnect.secure.data import OVERHEAD, TO_PROVIDER, TO_USER, Opener, Sealer
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, frames

logger = logging.getLogger(__name__)

SESSION_MTU = 132 * 1024
"""Bytes of one frame: two super-packets of 64 KiB and their headers, so that one NKN message carries both."""
SESSION_WINDOW = 16 << 20
"""Bytes in flight at most: 1 Gbit/s × 128 ms, a relay on another continent."""
SEND_BUFFER = 1
"""Bytes that wait unsent in the session, or one message: what waits there waits in one line."""
DIAL_TIMEOUT = 10.0
"""Seconds for the peer to answer: six handshakes on each path; who answers none of them is not there."""
OVERLAY_SESSION = SessionConfig(
    mode=Mode.UNORDERED,
    mtu=SESSION_MTU,
    window_size=SESSION_WINDOW,
    send_buffer=SEND_BUFFER,
    dial_timeout=DIAL_TIMEOUT,
)
"""Both sides announce this; the session takes the smaller of both."""
ANSWER_TIMEOUT = 2.0
"""Seconds under traffic until the provider counts as gone: an idle link is asked by its pings alone."""
USER_SESSION = replace(OVERLAY_SESSION, answer_timeout=ANSWER_TIMEOUT)
"""Of who dials. A provider waits `SILENCE_TIMEOUT` instead: it can dial nobody, and a user who comes back
within that time goes on with the session that it had."""

FRAME_OVERHEAD = len(frames.DATA_PREFIX) + OVERHEAD
MIN_SESSION_MTU = LENGTH_SIZE + MAX_PACKET + FRAME_OVERHEAD
"""A frame holds at least one super-packet; only a program that is not nconnect announces less."""

HANDSHAKE_TIMEOUT = 10.0
"""Seconds for the TLS handshake: two round trips through far relays, with losses, take under 5."""
PING_INTERVAL = 5.0
"""Seconds between proofs of life on an idle link; more would cost a battery more."""
SILENCE_TIMEOUT = 16.0
"""Seconds without any authentic frame after which the peer counts as gone: three pings were lost."""
MAX_CONTROL_QUEUE = 64
"""Control messages received and not yet read; a peer that sends more breaks the protocol."""
MAX_CONTROL_BACKLOG = 64
"""Control frames that wait because the peer takes nothing; whoever makes us answer has to listen."""
LIMIT_LIFETIME = 0.005
"""Seconds for which a size of batches is kept: to ask the session for it costs as much as a small batch."""
MAX_INTERVAL = 0.5
"""Seconds that senders are given at most to answer the queue: the round trip of two satellites."""
CLOSE_TIMEOUT = 2.0
"""Seconds that `close` waits for its last words to be acknowledged (NCP lingers longer)."""


class Link:
    """One peer, end to end. See the module's docstring for the call contract."""

    def __init__(self, session: Session, identity: Identity, *, server: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._channel = ControlChannel(identity, server=server, peer_public_key=session.remote_public_key)
        self._server = server
        self._order = frames.ControlOrder()
        self._control_number = 0
        self._control_out: deque[bytes] = deque()
        self._control_in: asyncio.Queue[control.ControlMessage | None] = asyncio.Queue(MAX_CONTROL_QUEUE)
        self._established: asyncio.Future[None] = self._loop.create_future()
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        # A frame is the type byte, the seal's own bytes and the batch; one frame is one NCP packet.
        self._batch = BatchWriter(session.send_mtu - FRAME_OVERHEAD)
        self._coalescer = Coalescer()
        """What goes into the next batch."""
        self._waiting = FlowQueue(QueueStats())
        self._limit = self._suitable_batch()
        """Bytes of packets that share a batch: as many as suit the path."""
        self._limit_until = 0.0
        self._next: bytes | None = None
        """The packet whose turn it was when the batch was full; it begins the next one."""
        self._ping_token = 0
        self._ping_sent = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed_with: Exception | None = None
        self._closed = False

        self.on_batch: Callable[[memoryview], None] = lambda batch: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_closed: Callable[[Exception | None], None] = lambda error: None
        self.last_received = self._loop.time()
        """When the last authentic frame came, in the loop's time."""
        self.rtt: float | None = None
        """Seconds for the last ping to come back."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.on_bad_frame: Callable[[ProtocolError], None] = lambda error: None
        """Hears of each data frame that was dropped: malformed, forged or seen before."""
        session.set_handlers(self._on_frame, self._on_writable, self._on_session_closed)

    @classmethod
    async def open(cls, session: Session, identity: Identity, *, server: bool) -> Link:
        """Make the TLS handshake over `session`.

        Raises:
            CryptoError: the peer's certificate is not the key in its NKN address.
            DialTimeoutError: the peer did not finish within `HANDSHAKE_TIMEOUT`.
            ClosedError, ProtocolError: the session ended, or the peer broke the protocol.
        """
        if session.send_mtu < MIN_SESSION_MTU:
            session.abort()
            raise ProtocolError(
                f"{session.remote_address} takes messages of {session.send_mtu} bytes, {MIN_SESSION_MTU} are "
                "needed: it is not nconnect"
            )
        link = cls(session, identity, server=server)
        try:
            link._channel.start()
            link._flush_channel()
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await link._established
        except TimeoutError as error:
            link.abort()
            raise DialTimeoutError(f"{session.remote_address} did not finish the TLS handshake") from error
        except BaseException:
            link.abort()
            raise
        return link

    # What the link is

    @property
    def remote_public_key(self) -> bytes:
        """The peer's Ed25519 key, 32 bytes; TLS has proved that the peer holds it."""
        return self._session.remote_public_key

    @property
    def remote_address(self) -> str:
        """The peer's NKN address."""
        return self._session.remote_address

    @property
    def key_exchange_group(self) -> str:
        """The TLS group that the keys come from, e.g. X25519MLKEM768."""
        return self._channel.group

    @property
    def session(self) -> Session:
        """The NKN session below, for its statistics."""
        return self._session

    @property
    def closed(self) -> bool:
        """Whether the link has ended."""
        return self._closed

    # Packets out

    @property
    def peer_takes_uso(self) -> bool:
        """Whether the peer's kernel cuts UDP super-packets."""
        return self._coalescer.udp

    @peer_takes_uso.setter
    def peer_takes_uso(self, takes: bool) -> None:
        self._coalescer.udp = takes

    def count_drops(self, stats: QueueStats) -> None:
        """Count in `stats` from now on what the queues drop and mark, and share its limit."""
        self._waiting.clear()
        self._waiting.stats = stats

    def queue(self, packet: bytes) -> None:
        """Take a packet (virtio header and IP packet), to be sent by the next `flush` or when there is room.

        DecodeError: it is none. What is too much is dropped, as at any router.
        """
        if self._goes_whole(packet):
            self._put(packet)
        else:
            for piece in segment(packet):
                self._put(piece)

    def _goes_whole(self, packet: bytes) -> bool:
        """Whether the peer takes the packet with the offloads that our kernel left to us."""
        if packet[1] == virtio.GSO_UDP_L4 and not self.peer_takes_uso:
            return False
        try:
            virtio.check(packet)
        except DecodeError:
            return False  # legitimate, but odd: a partial checksum inside another tunnel's packet
        return True

    def _put(self, packet: bytes) -> None:
        limit, coalescer = self._limit, self._coalescer
        if coalescer.size and coalescer.size + len(packet) > limit:
            self.flush()
        nothing_waits = not self._waiting.cost and self._next is None and (coalescer.size or self.has_room)
        if nothing_waits and coalescer.size + len(packet) <= limit:
            coalescer.add(packet)
            return
        now = self._loop.time()
        for piece in split(packet, limit):
            self._waiting.put(piece, now)

    def flush(self) -> bool:
        """Seal and send what there is room for; False if the session has no room any more."""
        if self._sealer is None:
            return True
        while self.has_room:
            if self._waiting.cost or self._next is not None:
                self._fill()
            if not self._coalescer.size:
                return True
            for packet in self._coalescer.take():
                self._batch.add(packet)
            self.send_batch(self._batch.take())
        return False

    def _fill(self) -> None:
        """Move packets into the batch, those whose turn it is."""
        coalescer, waiting, limit = self._coalescer, self._waiting, self._limit
        # On a slow path the few bytes of a sparse flow do not share a message with the many of others, which
        # arrives when the last of them has.
        is_slow = limit < self._batch.capacity - LENGTH_SIZE
        urgent = False
        now = self._loop.time()
        packet = self._next or waiting.get(now)
        while packet is not None:
            if coalescer.size and (coalescer.size + len(packet) > limit or (urgent and not waiting.sparse)):
                break
            urgent = is_slow and waiting.sparse
            coalescer.add(packet)
            packet = waiting.get(now)
        self._next = packet

    # Batches out

    @property
    def max_batch(self) -> int:
        """The largest batch in bytes."""
        return self._batch.capacity

    @property
    def has_room(self) -> bool:
        """Whether `send_batch` takes a batch now; if not, `on_room` is called when it does."""
        return not self._control_out and self._session.takes_message()

    def send_batch(self, batch: bytes | memoryview) -> None:
        """Seal and send a batch that somebody else built; only while there is room."""
        assert self._sealer is not None
        now = self._loop.time()
        frame = self._sealer.seal(batch, now, frames.DATA_PREFIX)
        self.bytes_out += len(frame)
        self._send_frame(frame)
        if now >= self._limit_until:
            self._limit_until = now + LIMIT_LIFETIME
            self._limit = self._suitable_batch()

    def _suitable_batch(self) -> int:
        """Bytes of packets for the next batch: a slow path gets small ones, or the next packet waits long."""
        hint = self._session.message_size_hint - FRAME_OVERHEAD - LENGTH_SIZE
        self._waiting.enough = hint
        return hint

    def _send_frame(self, frame: bytes) -> bool:
        try:
            return self._session.try_send(frame)
        except ClosedError:
            return True  # on_closed tells; the frame is lost as on any cut wire

    # Control messages

    def send(self, message: control.ControlMessage) -> None:
        """Send a control message; it is never dropped while the session lives."""
        if not (self._closed or self._channel.closed or self._channel.failed):
            self._channel.send(control.encode(message))
            self._flush_channel()

    async def receive(self) -> control.ControlMessage:
        """The next control message that is not a ping.

        Raises:
            ClosedError: the link has ended; or the error that ended it.
        """
        message = await self._control_in.get()
        if message is None:
            self._control_in.put_nowait(None)  # for the next who asks
            raise self._closed_with or ClosedError("the link is closed")
        return message

    def start_pings(self) -> None:
        """From now on prove life on an idle link, and end it when the peer gives no proof of its own."""
        self.last_received = self._loop.time()
        self._arm()

    def _arm(self) -> None:
        self._timer = self._loop.call_later(PING_INTERVAL, self._on_timer)

    def _on_timer(self) -> None:
        if self._loop.time() - self.last_received > SILENCE_TIMEOUT:
            self._end(DialTimeoutError(f"no sign of life from the peer for {SILENCE_TIMEOUT:.0f} seconds"))
            return
        self._ping_token += 1
        self._ping_sent = self._loop.time()
        self.send(control.Ping(self._ping_token))
        if not self._closed:
            self._arm()

    def _flush_channel(self) -> None:
        stream = self._channel.data_to_send()
        if stream:
            pieces = frames.control_frames(self._control_number, stream, self._session.send_mtu)
            self._control_number += len(pieces)
            self._control_out.extend(pieces)
        self._drain_control()
        if len(self._control_out) > MAX_CONTROL_BACKLOG:
            self._end(ProtocolError("the peer does not take the control messages that it is sent"))

    def _drain_control(self) -> None:
        # Sending may make room, of which the session tells at once: then we are called while we send.
        while self._control_out:
            frame = self._control_out.popleft()
            if not self._send_frame(frame):
                self._control_out.appendleft(frame)
                return

    # What the session hands us

    def _on_writable(self) -> None:
        self._drain_control()
        if self._control_out:
            return
        if self.flush():
            self.on_room()

    def _on_frame(self, frame: bytes) -> None:
        if self._closed or not frame:
            return
        kind = frame[0]
        try:
            if kind == frames.DATA:
                self._on_data(frame)
            elif kind == frames.CONTROL:
                self._on_control(frame)
        except ProtocolError as error:
            if kind == frames.DATA:
                # Costs this batch and nothing else: relays may repeat or garble what they carry.
                logger.debug("batch from %s dropped: %s", self.remote_address, error)
                self.on_bad_frame(error)
            else:
                self._end(error)

    def _on_data(self, frame: bytes) -> None:
        if self._opener is None:
            return  # overtook the handshake on another path: lost, as IP packets may be
        batch = self._opener.open(memoryview(frame)[1:])
        self.last_received = self._loop.time()
        self.bytes_in += len(frame)
        self.on_batch(memoryview(batch))

    def _on_control(self, frame: bytes) -> None:
        stream = self._order.receive(frame)
        if not stream:
            return
        messages = self._channel.receive(stream)
        self._flush_channel()
        if self._channel.established and not self._established.done():
            self._derive_keys()
            self._established.set_result(None)
        for data in messages:
            self.last_received = self._loop.time()
            self._dispatch(control.decode(data))
        if self._channel.closed:
            self._end(ClosedError("the peer closed the control channel"))

    def _derive_keys(self) -> None:
        ours, theirs = (TO_USER, TO_PROVIDER) if self._server else (TO_PROVIDER, TO_USER)
        self._sealer = Sealer(self._channel.export, ours)
        self._opener = Opener(self._channel.export, theirs)

    def _dispatch(self, message: control.ControlMessage | None) -> None:
        match message:
            case None | control.Rekey():
                pass
            case control.Ping(token):
                self.send(control.Pong(token))
            case control.Pong(token):
                if token == self._ping_token:
                    self.rtt = self._loop.time() - self._ping_sent
                    self._waiting.interval = min(max(INTERVAL, self.rtt), MAX_INTERVAL)
            case _:
                if self._control_in.full():
                    raise ProtocolError("the peer sends control messages faster than they can be read")
                self._control_in.put_nowait(message)

    # The end

    def _on_session_closed(self, error: Exception | None) -> None:
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._closed_with = error if isinstance(error, NconnectError) else None
        if self._timer is not None:
            self._timer.cancel()
        if not self._established.done():
            self._established.set_exception(
                self._closed_with
                or ClosedError("the peer ended the session before TLS was done; it may be busy, try again")
            )
            self._established.exception()  # seen, should nobody wait any more
        while self._control_in.full():
            self._control_in.get_nowait()
        self._control_in.put_nowait(None)
        self._session.abort()
        self._control_out.clear()
        self._waiting.clear()
        self.on_closed(error)

    def abort(self) -> None:
        """End at once, without a word to the peer."""
        self._end(None)

    async def close(self, reason: str = "") -> None:
        """Say goodbye and end; never raises."""
        if self._closed:
            return
        if self._established.done():
            self.send(control.Bye(reason))
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._session.close()
        except (TimeoutError, NconnectError) as error:
            logger.debug("closing the session with %s: %s", self.remote_address, error)
        self._end(None)
