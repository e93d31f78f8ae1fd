"""The data phase of a session: data, ACKs, windows and losses over the paths that the handshake agreed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nconnect.errors import ProtocolError

from .acks import AckQueue
from .config import Config, Mode
from .events import Event, Readable, Transmit, Writable
from .handshake import Agreement
from .keepalive import KeepAlive
from .pacing import EARLY
from .packet import AckRange, ack_ranges, encode_acks, encode_data
from .packet_pb2 import Packet
from .path import Path
from .patience import Patience
from .receive import Arrival, ReceiveBuffer
from .schedule import Scheduler, first_choice
from .send import Segment, SendBuffer
from .stats import Stats
from .timers import NEVER, Timer, TimerTable
from .window import WindowUpdates

# A peer with a full window is asked whether it has read meanwhile, first after this time, then doubling.
PERSIST_INTERVAL = 0.5
MAX_PERSIST_INTERVAL = 5.0
# Messages wait above us, where it is known which are urgent, as far as the paths need not wait for them:
# seconds of what the paths deliver together.
BUFFER_TIME = 0.005
# Of a stream nothing can overtake the rest, so its packets only keep other sessions from waiting long.
MIN_STREAM_PACKET = 16 << 10


class Transfer:
    """What a Connection does once established. Fed and drained by it alone, under its call contract."""

    def __init__(
        self,
        config: Config,
        agreement: Agreement,
        not_ready: set[str],
        emit: Callable[[Event], None],
        now: float,
    ) -> None:
        self._config = config
        self._emit = emit
        self.send_mtu = agreement.send_mtu
        self._paths = {
            pair: Path(config, *pair, agreement.send_mtu, agreement.send_window) for pair in agreement.pairs
        }
        for path in self._paths.values():
            path.ready = path.local_id not in not_ready
        self._scheduler = Scheduler(list(self._paths.values()))
        self._send = SendBuffer(config, agreement.send_mtu, agreement.send_window)
        self._receive = ReceiveBuffer(config.mode, config.window_size, config.first_sequence)
        self._updates = WindowUpdates(config.window_size)
        self._write_refused = False
        self._persist_at = NEVER
        self._persist_interval = PERSIST_INTERVAL
        self._alive = KeepAlive(config.keep_alive if config.dead_timeout else 0.0, now)
        self._patience = Patience(config.answer_timeout, now)
        self._waiting_since = now
        self._retransmissions = self._spurious = self._duplicates = self._refused = 0

    # Application

    @property
    def drained(self) -> bool:
        """Whether the session can be closed without loss."""
        return self._send.drained

    @property
    def progress(self) -> int:
        """Grows whenever something of ours is acknowledged, or read by the peer's application."""
        return self._send.progress

    @property
    def unacknowledged(self) -> int:
        """Bytes that were written and are not acknowledged."""
        return self._send.unacknowledged

    def write(self, data: bytes | bytearray | memoryview, now: float) -> int:
        taken = self._send.write(data, now)
        if taken < len(data):
            self._write_refused = True
        return taken

    @property
    def message_size_hint(self) -> int:
        return int(min(self._scheduler.message_size(), self.send_mtu))

    def takes_message(self) -> bool:
        if not self._send.queued or self._send.queued < self._send.limit:
            return True
        self._write_refused = True
        return False

    def flush(self) -> None:
        self._send.flush()

    def read(self, n: int, now: float) -> bytes:
        data = self._receive.read(n)
        self._updates.on_read(len(data), now)
        return data

    def receive_message(self, now: float) -> bytes | None:
        message = self._receive.pop()
        if message is not None:
            self._updates.on_read(len(message), now)
        return message

    def stop(self, *, discard: bool) -> None:
        """Send nothing more; with `discard` what is unread is forgotten as well."""
        self._send.clear()
        for path in self._paths.values():
            path.drop_all()
        if discard:
            self._receive.clear()

    # Paths

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return list(self._paths)

    def set_path_ready(self, local_id: str, ready: bool, now: float, *, lost: bool) -> None:
        if ready and not any(path.ready for path in self._paths.values()):
            self._patience.ready_since = now
        for path in self._paths.values():
            if path.local_id == local_id:
                path.ready = ready
                if lost:
                    self._send.mark_lost(path.drop_all())
                    path.restart()
        if lost and not any(path.ready for path in self._paths.values()):
            self._alive.on_cut_off()

    def on_handshake(self, pair: tuple[str, str]) -> None:
        """The peer's handshake, or its answer, came on what may be a path."""
        path = self._paths.get(pair)
        if path is not None:
            path.heard = True

    def on_handshake_answered(self, pair: tuple[str, str], sent_at: float, now: float) -> None:
        """The answer to a handshake that was sent once gives a path its first round-trip time."""
        path = self._paths.get(pair)
        if path is not None and path.rtt.smoothed is None:
            path.on_rtt(sent_at, now)

    # Peer

    def receive(self, packet: Packet, pair: tuple[str, str], now: float) -> None:
        """Neither handshake nor close. ProtocolError, DecodeError: it is bad, and dropped."""
        self._alive.on_heard(now)
        path = self._paths.get(pair)
        if path is not None:
            path.heard = True
        if packet.ack_start_seq or packet.ack_seq_count:
            self._on_acks(ack_ranges(packet), path, now)
        if packet.bytes_read:
            self._send.on_peer_read(packet.bytes_read)
        if packet.sequence_id:
            self._on_data(packet.sequence_id, packet.data, path, now)

    def _on_acks(self, ranges: list[AckRange], path: Path | None, now: float) -> None:
        touched: dict[Path, None] = {}
        newest: Segment | None = None
        for segment in self._send.acknowledge(ranges):
            carrier = segment.path
            if carrier is None:
                continue
            carrier.on_acknowledged(segment, now)
            touched[carrier] = None
            # Karn: the ACK of a resent packet may be for either. The newest was held back the least.
            if (
                carrier is path
                and segment.transmissions == 1
                and (newest is None or segment.sent_at > newest.sent_at)
            ):
                newest = segment
        if path is not None:
            self._spurious += path.on_late_acks(ranges, now)
            if newest is not None:
                path.on_rtt(newest.sent_at, now, newest.size)
        for carrier in touched:
            carrier.end_acks(now)
            self._send.mark_lost(carrier.detect_lost(now))
        if touched:
            self._suit_rate()

    def _suit_rate(self) -> None:
        """Let no more wait here, and in no larger pieces, than the paths take in a short time."""
        send = self._send
        if self._config.mode is Mode.STREAM:
            # Halves, so that a window which is filled by whole packets still is.
            suits = max(self.message_size_hint, MIN_STREAM_PACKET)
            send.packet_size = self.send_mtu
            while send.packet_size > suits:
                send.packet_size //= 2
        else:
            send.limit = int(min(self._scheduler.rate * BUFFER_TIME, self._config.send_buffer))

    def _on_data(self, sequence: int, data: bytes, path: Path | None, now: float) -> None:
        if len(data) > self._config.mtu:
            raise ProtocolError(f"NCP packet with {len(data)} bytes of data; our MTU is {self._config.mtu}")
        if path is None:
            raise ProtocolError("NCP data between two sub-clients that are not a path of the session")
        readable = self._receive.readable
        arrival = self._receive.accept(sequence, data)
        if arrival is Arrival.REFUSED:
            self._refused += 1
            return
        path.bytes_received += len(data)
        path.acks.add(sequence, len(data), now)
        if arrival is Arrival.DUPLICATE:
            self._duplicates += 1
            return
        self._updates.on_new_data()
        if self._receive.readable and not readable:
            self._emit(Readable())

    # Sending

    def transmit(self, now: float) -> Iterator[Transmit]:
        """All that may be sent now; lazy, so that a path may turn not ready in between."""
        yield from self._transmit_data(now)
        yield from self._transmit_acks(now)
        yield from self._transmit_bytes_read(now)
        yield from self._transmit_persist(now)
        yield from self._transmit_tails(now)
        yield from self._transmit_probes(now)
        yield from self._transmit_question(now)

    def _transmit_data(self, now: float) -> Iterator[Transmit]:
        send = self._send
        self._scheduler.pace_at = NEVER
        while size := send.next_size():
            path = self._scheduler.choose(size, send.backlog, now, more=self._write_refused)
            if path is None:
                return
            if not send.outstanding:
                self._waiting_since = now
            segment = send.take(now)
            if segment.transmissions:
                self._retransmissions += 1
            path.on_sent(segment, now)
            packet = encode_data(segment.sequence, segment.data, self._tail(path.acks, now))
            self._offer_room()
            yield Transmit(path.local_id, path.remote_id, packet)

    def _offer_room(self) -> None:
        if self._write_refused and self._send.queued * 2 <= self._send.limit:
            self._write_refused = False
            self._emit(Writable())

    def _transmit_acks(self, now: float) -> Iterator[Transmit]:
        for path in self._paths.values():
            while path.acks.deadline <= now:
                # An ACK on another path is as good, but gives the peer no round-trip time.
                carrier = path if path.ready else self._best_path()
                if carrier is None:
                    return
                yield Transmit(carrier.local_id, carrier.remote_id, self._tail(path.acks, now))

    def _transmit_bytes_read(self, now: float) -> Iterator[Transmit]:
        updates = self._updates
        if updates.urgent and (path := self._best_path()) is not None:
            packet = encode_acks((), updates.bytes_read)
            updates.on_told(now)
            yield Transmit(path.local_id, path.remote_id, packet)
        if updates.deadline <= now:
            ready = [path for path in self._paths.values() if path.ready]
            if ready:
                packet = encode_acks((), updates.bytes_read)
                updates.on_told(now, alone=True)
                for path in ready:
                    yield Transmit(path.local_id, path.remote_id, packet)

    def _transmit_question(self, now: float) -> Iterator[Transmit]:
        if self._send.outstanding or self._alive.due > now:
            return
        ready = [path for path in self._paths.values() if path.ready]
        if ready:
            path = ready[self._alive.questions % len(ready)]
            self._alive.on_asked(now)
            yield Transmit(path.local_id, path.remote_id, encode_data(self._send.last_sequence, b""))

    def _transmit_persist(self, now: float) -> Iterator[Transmit]:
        """Ask a peer whose window is full whether it has read meanwhile, in case its bytes_read was lost.

        NCP has no such question; but a packet that was acknowledged already, without its data, makes every
        receiver send an ACK, and with it bytes_read.
        """
        if not self._send.blocked:
            self._persist_at = NEVER
            self._persist_interval = PERSIST_INTERVAL
            return
        if self._persist_at == NEVER:
            self._persist_at = now + self._persist_interval
        path = self._best_path()
        if self._persist_at <= now and path is not None:
            self._persist_interval = min(self._persist_interval * 2, MAX_PERSIST_INTERVAL)
            self._persist_at = now + self._persist_interval
            yield Transmit(path.local_id, path.remote_id, encode_data(self._send.last_sequence, b""))

    def _transmit_tails(self, now: float) -> Iterator[Transmit]:
        for late in self._scheduler.tails_to_probe(now):
            candidates = self._scheduler.candidates()
            if not candidates:
                return
            others = [path for path in candidates if path is not late]
            segment = late.on_tail_probed()
            path = first_choice(others or candidates, segment.size)
            path.bytes_sent += segment.size
            self._retransmissions += 1
            yield Transmit(path.local_id, path.remote_id, encode_data(segment.sequence, segment.data))

    def _transmit_probes(self, now: float) -> Iterator[Transmit]:
        for path in self._scheduler.suspects_to_probe(now):
            segment = self._send.newest
            if segment is None:
                return
            path.on_probe_sent(segment, now)
            self._retransmissions += 1
            yield Transmit(path.local_id, path.remote_id, encode_data(segment.sequence, segment.data))

    def _tail(self, acks: AckQueue, now: float) -> bytes:
        """ACKs and bytes_read, alone or to travel with data."""
        ranges = acks.take() if acks else []
        if not ranges and not self._updates.urgent:
            return b""
        self._updates.on_told(now)
        return encode_acks(ranges, self._updates.bytes_read)

    def _best_path(self) -> Path | None:
        candidates = self._scheduler.candidates()
        return first_choice(candidates, 0) if candidates else None

    # Timers

    def arm(self, timers: TimerTable) -> None:
        """Set this phase's timers. What cannot be done for want of a ready path waits without a timer."""
        loss = ack = tail = NEVER
        ready = suspect = False
        for path in self._paths.values():
            if path.in_flight:
                loss = min(loss, path.loss_time())
                tail = min(tail, path.tail_time())
            ack = min(ack, path.acks.deadline)
            ready = ready or path.ready
            suspect = suspect or path.suspect
        outstanding = bool(self._send.outstanding)
        timers.set(Timer.LOSS, loss)
        timers.set(Timer.TAIL, tail if ready else NEVER)
        timers.set(Timer.PACE, self._scheduler.pace_at - EARLY)
        timers.set(Timer.ACK, ack if ready else NEVER)
        timers.set(Timer.WINDOW, self._updates.deadline if ready else NEVER)
        timers.set(Timer.PERSIST, self._persist_at if ready else NEVER)
        timers.set(Timer.FLUSH, self._send.flush_at)
        timers.set(Timer.PROBE, self._scheduler.next_probe() if suspect and outstanding else NEVER)
        timers.set(Timer.ASK, self._alive.due if ready and not outstanding else NEVER)
        patience = self._config.dead_timeout or NEVER
        silent_since = self._owed_since if outstanding else self._alive.asked_at
        timers.set(Timer.DEAD, silent_since + patience)
        timers.set(Timer.SILENT, self._patience.due(silent_since) if ready and outstanding else NEVER)

    @property
    def _owed_since(self) -> float:
        """Since when nothing of the peer has come, although something waits for its ACK."""
        return max(self._alive.heard_at, self._waiting_since)

    def gives_up(self, now: float) -> bool:
        """Whether the peer owes an answer for too long, now that SILENT has gone off."""
        return self._patience.is_over(self._owed_since, self._paths.values(), now)

    def on_timer(self, timer: Timer, now: float) -> None:
        """PACE, TAIL, ACK, WINDOW, PERSIST, PROBE and ASK need no more than the transmit() that follows."""
        if timer is Timer.LOSS:
            for path in self._paths.values():
                self._send.mark_lost(path.detect_lost(now))
        elif timer is Timer.FLUSH:
            self._send.flush()

    def stats(self, packets_sent: int, packets_received: int) -> Stats:
        paths = tuple(path.stats() for path in self._paths.values())
        return Stats(
            bytes_sent=self._send.bytes_sent,
            bytes_received=self._receive.bytes_received,
            bytes_queued=self._send.queued,
            bytes_in_flight=sum(path.in_flight for path in paths),
            packets_sent=packets_sent,
            packets_received=packets_received,
            retransmissions=self._retransmissions,
            spurious_retransmissions=self._spurious,
            duplicates=self._duplicates,
            refused=self._refused,
            paths=paths,
        )
