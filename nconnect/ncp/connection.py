"""One NCP session as a state machine."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from nconnect.errors import ClosedError, DialTimeoutError, ProtocolError, UsageError

from .config import Config, Mode
from .events import Closed, Established, Event, Transmit, Writable
from .handshake import (
    ANSWER_INTERVAL,
    MAX_ANSWERS_UNASKED,
    MAX_RESEND_INTERVAL,
    RESEND_GROWTH,
    RESEND_INTERVAL,
    agree,
)
from .packet import CLOSE, MAX_OVERHEAD, decode, encode_handshake
from .packet_pb2 import Packet
from .rtt import INITIAL_RTO
from .states import TRANSITIONS, State, Trigger
from .stats import Stats
from .timers import Timer, TimerTable
from .transfer import Transfer


class Connection:
    """One session with one peer, over several paths.

    Feed it:

    - `connect(now)`, at the dialler only; the acceptor feeds the handshake that it received instead;
    - `receive(packet, local_id, remote_id, now)` for every packet that arrived for the session;
    - for the application `write(data, now)`, `read(n, now)`, `receive_message(now)`, `close(now)` and
      `abort(now)`;
    - `set_path_ready(local_id, ready, now)` when a sub-client comes, goes or is congested;
    - `handle_timeout(now)` when the time `next_timeout()` has come.

    After feeding it, drain it, in this order:

    1. `for item in transmit(now)`: send each; the iterator is lazy, so a path that is set not ready between
       two items gets nothing more, and what was not taken comes next time;
    2. `events()`: act on each;
    3. `next_timeout()`: arm one timer, in place of the one before.

    `now` is in seconds on any monotonic clock, and never goes back. Nothing here blocks or does I/O.
    Methods raise UsageError for misuse, write() raises ClosedError once the session ends, and receive()
    raises nothing but ProtocolError or DecodeError, for a packet that breaks the protocol: such a packet is
    dropped and the session goes on; the driver may log it.

    After Closed the driver may forget the connection. If it still feeds packets to it, they are answered by
    another close, so that a peer which missed the first learns of it.
    """

    def __init__(
        self, config: Config, *, local_ids: Sequence[str], remote_ids: Sequence[str] | None = None
    ) -> None:
        """`local_ids`: our sub-clients' identifiers ("__0__", …), in any order.

        `remote_ids`: where the dialler sends its handshake; default: to the same identifiers as ours.
        """
        if not local_ids or len(set(local_ids)) != len(local_ids):
            raise UsageError("an NCP session needs one or more sub-clients, each named once")
        if remote_ids is not None and not remote_ids:
            raise UsageError("an NCP session needs one or more sub-clients of the peer, or None")
        self._config = config
        self._local_ids = sorted(local_ids)
        self._remote_ids = sorted(remote_ids) if remote_ids is not None else self._local_ids
        self._not_ready: set[str] = set()
        self._state = State.IDLE
        self._timers = TimerTable()
        self._events: list[Event] = []
        self._control: deque[Transmit] = deque()
        self._transfer: Transfer | None = None
        self._dialler = False
        self._write_refused = False
        self._handshakes_sent = 0
        self._handshake_sent_at = 0.0
        self._handshake_interval = RESEND_INTERVAL
        self._close_answered_at = -math.inf
        self._packets_sent = 0
        self._packets_received = 0

    # Feeding

    def connect(self, now: float) -> None:
        """Dial: send handshakes on every ready path until answered or `Config.dial_timeout` is over."""
        if self._state is not State.IDLE:
            raise UsageError("this NCP session was dialled or accepted before")
        self._enter(Trigger.CONNECT)
        self._dialler = True
        self._timers.set(Timer.DIAL, now + self._config.dial_timeout)
        self._send_handshake(now)

    def receive(self, data: bytes | memoryview, local_id: str, remote_id: str, now: float) -> None:
        """One packet that arrived at our `local_id` from the peer's `remote_id`.

        Raises DecodeError or ProtocolError if the packet is bad; it is dropped then.
        """
        if len(data) > self._config.mtu + MAX_OVERHEAD:
            raise ProtocolError(f"NCP packet of {len(data)} bytes; our MTU is {self._config.mtu}")
        packet = decode(data)
        self._packets_received += 1
        if self._state is State.CLOSED:
            self._answer_with_close(packet, (local_id, remote_id), now)
        elif packet.close:
            self._on_close(packet)
        elif packet.handshake:
            self._on_handshake(packet, (local_id, remote_id), now)
        elif self._transfer is not None:
            self._timers.stop(Timer.HANDSHAKE)
            self._receive(self._transfer, packet, (local_id, remote_id), now)
        # Anything else came ahead of the handshake. The peer sends it again, as to ncp-go.

    def takes_message(self) -> bool:
        """MESSAGE, UNORDERED: whether write() would take a message now; a Writable event follows if not."""
        if self._transfer is None:
            self._write_refused = True
            return False
        return self._transfer.takes_message()

    def write(self, data: bytes | bytearray | memoryview, now: float) -> int:
        """Queue data; how many of its bytes were taken.

        STREAM: 0 to len(data). MESSAGE, UNORDERED: all (len(data)) or nothing (0).
        Fewer than all means full, or not yet established: a Writable event follows once there is room.
        A `bytes` object is kept, not copied. UsageError: an empty message, or one longer than `send_mtu`.
        ClosedError: after close().
        """
        if self._state in (State.CLOSING, State.CLOSED):
            raise ClosedError("the NCP session is closed")
        if isinstance(data, memoryview):
            data = data.cast("B")
        if self._transfer is None:
            self._write_refused = True
            return 0
        if self._config.mode is not Mode.STREAM and not 0 < len(data) <= self.send_mtu:
            raise UsageError(f"an NCP message must have 1 to {self.send_mtu} bytes, not {len(data)}")
        return self._transfer.write(data, now)

    def read(self, n: int, now: float) -> bytes:
        """STREAM: up to n bytes; b"" if there are none now."""
        if self._config.mode is not Mode.STREAM:
            raise UsageError("read() is for streams; use receive_message()")
        return self._transfer.read(n, now) if self._transfer is not None else b""

    def receive_message(self, now: float) -> bytes | None:
        """MESSAGE, UNORDERED: the next message, or None if there is none now."""
        if self._config.mode is Mode.STREAM:
            raise UsageError("receive_message() is not for streams; use read()")
        return self._transfer.receive_message(now) if self._transfer is not None else None

    def set_path_ready(self, local_id: str, ready: bool, now: float, *, lost: bool = False) -> None:
        """Whether our sub-client `local_id` can be sent on now; all are ready at first.

        Not ready because its send buffer is full: `lost=False`, what is in flight there is left alone.
        Not ready because its connection is gone: `lost=True`, what is in flight there is resent elsewhere at
        once, and what was measured on the path is forgotten.
        May be called between two items of transmit().
        """
        if local_id not in self._local_ids:
            raise UsageError(f"{local_id!r} is not a sub-client of this NCP session")
        came = ready and local_id in self._not_ready
        if ready:
            self._not_ready.discard(local_id)
        else:
            self._not_ready.add(local_id)
        if self._transfer is not None:
            self._transfer.set_path_ready(local_id, ready, now, lost=lost)
        elif came and self._state is State.DIALLING:
            self._send_handshake(now)

    def close(self, now: float) -> None:
        """Send what is queued, tell the peer, then Closed.

        Before the peer is told, all is acknowledged and read at its end, or nothing of it was for
        `Config.linger`.
        """
        if self._state in (State.CLOSING, State.CLOSED):
            return
        self._enter(Trigger.CLOSE)
        if self._transfer is None:
            self._end(None)
            return
        self._transfer.flush()
        self._timers.set(Timer.LINGER, now + self._config.linger)
        self._close_if_drained()

    def abort(self, now: float) -> None:
        """Forget what is queued, in flight and unread, tell the peer, Closed at once."""
        if self._state is State.CLOSED:
            return
        self._enter(Trigger.ABORT)
        self._end(ClosedError("the NCP session was aborted"), discard=True)

    def handle_timeout(self, now: float) -> None:
        """Do what was due at `next_timeout()`; harmless when called early."""
        self._arm()
        for timer in self._timers.expire(now):
            self._on_timer(timer, now)
            if self._state is State.CLOSED:
                return

    # Draining

    def transmit(self, now: float) -> Iterator[Transmit]:
        """All that may be sent now, made as it is taken."""
        while self._control:
            self._packets_sent += 1
            yield self._control.popleft()
        if self._transfer is not None and self._state is not State.CLOSED:
            for item in self._transfer.transmit(now):
                self._packets_sent += 1
                yield item

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def next_timeout(self) -> float | None:
        """When to call handle_timeout(), None for never."""
        self._arm()
        return self._timers.next_timeout()

    # Looking

    @property
    def established(self) -> bool:
        """Whether the handshake is done and the session not over."""
        return self._state in (State.ESTABLISHED, State.CLOSING)

    @property
    def closed(self) -> bool:
        """Whether the session is over. What was received stays readable."""
        return self._state is State.CLOSED

    @property
    def send_mtu(self) -> int:
        """Largest message in bytes: min(our MTU, the peer's, the session window); ours until established."""
        return self._transfer.send_mtu if self._transfer is not None else self._config.mtu

    @property
    def message_size_hint(self) -> int:
        """How large the next message should be, in bytes: at most `send_mtu`, less on a slow path.

        A message of this size takes about 2 ms of the path that it is likely to take. Larger ones are sent
        all the same.
        """
        return self._transfer.message_size_hint if self._transfer is not None else self._config.mtu

    @property
    def stats(self) -> Stats:
        """A snapshot; all zero and without paths before the session is established."""
        if self._transfer is None:
            return Stats(packets_sent=self._packets_sent, packets_received=self._packets_received)
        return self._transfer.stats(self._packets_sent, self._packets_received)

    # Handshake

    def _send_handshake(self, now: float) -> None:
        packet = encode_handshake(self._local_ids, self._config.window_size, self._config.mtu)
        self._send_on_all(packet)
        self._handshakes_sent += 1
        self._handshake_sent_at = now
        # The official SDKs dial with one handshake: the acceptor repeats its answer until it hears more.
        if self._dialler or self._handshakes_sent <= MAX_ANSWERS_UNASKED:
            self._timers.set(Timer.HANDSHAKE, now + self._handshake_interval)
        self._handshake_interval = min(self._handshake_interval * RESEND_GROWTH, MAX_RESEND_INTERVAL)

    def _on_handshake(self, packet: Packet, pair: tuple[str, str], now: float) -> None:
        if self._transfer is None:
            agreement = agree(self._config, self._local_ids, packet)
            self._enter(Trigger.HANDSHAKE)
            self._timers.stop(Timer.DIAL)
            self._timers.stop(Timer.HANDSHAKE)
            self._transfer = Transfer(self._config, agreement, self._not_ready, self._emit, now)
            self._emit(Established(agreement.send_mtu, agreement.send_window, len(agreement.pairs)))
            if self._write_refused:
                self._emit(Writable())
            if not self._dialler:
                self._send_handshake(now)
        elif not self._dialler and now - self._handshake_sent_at >= ANSWER_INTERVAL:
            # Asked again, so our answer was lost. What was agreed on first stays.
            self._send_handshake(now)
        self._transfer.on_handshake(pair)
        # Karn, and an acceptor that let the session wait for its application tells nothing about the path.
        waited = now - self._handshake_sent_at
        if self._dialler and self._handshakes_sent == 1 and waited < INITIAL_RTO:
            self._transfer.on_handshake_answered(pair, self._handshake_sent_at, now)

    def _receive(self, transfer: Transfer, packet: Packet, pair: tuple[str, str], now: float) -> None:
        before = transfer.progress
        transfer.receive(packet, pair, now)
        if self._state is State.CLOSING:
            if transfer.progress != before:
                self._timers.set(Timer.LINGER, now + self._config.linger)
            self._close_if_drained()

    # Close

    def _close_if_drained(self) -> None:
        if self._state is State.CLOSING and self._transfer is not None and self._transfer.drained:
            self._enter(Trigger.DRAINED)
            self._end(None)

    def _on_close(self, packet: Packet) -> None:
        error = None
        if self._state is State.DIALLING:
            error = ClosedError("the peer closed the NCP session instead of answering")
        elif packet.data:
            error = ClosedError("the peer does not know this NCP session: it was started again")
        self._enter(Trigger.PEER_CLOSE)
        self._end(error, by_peer=True)

    def _answer_with_close(self, packet: Packet, pair: tuple[str, str], now: float) -> None:
        if not packet.close and now - self._close_answered_at >= ANSWER_INTERVAL:
            self._close_answered_at = now
            self._control.append(Transmit(*pair, CLOSE))

    def _end(self, error: Exception | None, *, by_peer: bool = False, discard: bool = False) -> None:
        """The last thing that happens; the state is CLOSED already."""
        self._control.clear()
        if not by_peer and (self._dialler or self._transfer is not None):
            self._send_on_all(CLOSE)
        self._timers.stop_all()
        if self._transfer is not None:
            self._transfer.stop(discard=discard)
        self._emit(Closed(error, by_peer))

    # Inside

    def _enter(self, trigger: Trigger) -> None:
        self._state = TRANSITIONS[self._state][trigger]

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _send_on_all(self, packet: bytes) -> None:
        """On every ready path; before there are paths, to where the handshake goes."""
        pairs: Iterable[tuple[str, str]]
        if self._transfer is not None:
            pairs = self._transfer.pairs
        else:
            remote_ids = self._remote_ids
            pairs = [(local, remote_ids[i % len(remote_ids)]) for i, local in enumerate(self._local_ids)]
        self._control.extend(
            Transmit(local, remote, packet) for local, remote in pairs if local not in self._not_ready
        )

    def _arm(self) -> None:
        if self._transfer is not None and self._state is not State.CLOSED:
            self._transfer.arm(self._timers)

    def _on_timer(self, timer: Timer, now: float) -> None:
        if timer is Timer.HANDSHAKE:
            self._send_handshake(now)
        elif timer is Timer.DIAL:
            self._enter(Trigger.GIVE_UP)
            self._end(DialTimeoutError(f"the peer did not answer within {self._config.dial_timeout:g} s"))
        elif timer is Timer.DEAD:
            self._enter(Trigger.GIVE_UP)
            self._end(ClosedError(f"the peer was silent for {self._config.dead_timeout:g} s"))
        elif timer is Timer.SILENT:
            if self._transfer is not None and self._transfer.gives_up(now):
                self._enter(Trigger.GIVE_UP)
                self._end(ClosedError(f"no answer from the peer for {self._config.answer_timeout:g} s"))
        elif timer is Timer.LINGER:
            left = self._transfer.unacknowledged if self._transfer is not None else 0
            self._enter(Trigger.DRAINED)
            lost = f"closed with {left} bytes unacknowledged after {self._config.linger:g} s without progress"
            self._end(ClosedError(lost) if left else None)
        elif self._transfer is not None:
            self._transfer.on_timer(timer, now)
