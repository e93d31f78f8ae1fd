"""Packets that wait for a link: a queue for each flow, in turns, judged by CoDel (RFC 8290, FQ-CoDel).

A flow that sends little (a ping, a keystroke, a DNS query) finds no packets of its own waiting and goes
before those that do. The others take turns by bytes, not packets. One that fills its queue faster than the
link empties it is told so, by a mark or a loss, and nobody else is.

Pure: time comes in as `now`, in seconds. A packet is what `nconnect.packet.virtio` says.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .codel import Codel
from .ecn import mark
from .ip import flow
from .segment import split

QUANTUM = 1514
"""Bytes that a flow may send in its turn, and that a new one may send before the others (RFC 8290, 5.2.4)."""
INTERVAL = 0.1
"""Seconds within which a sender can answer: round-trip times up to that are usual (RFC 8289, 4.3)."""
MAX_FLOWS = 1024
"""Queues; flows beyond that share them (RFC 8290, 5.2.2). Each process hashes in its own way."""
MAX_BYTES = 4 << 20
"""That may wait for one link: 30 ms at 1 Gbit/s, twice what a sender in slow start puts there at 100 Mbit/s
and 160 ms. CoDel holds it far below as soon as senders answer."""
MAX_BYTES_OF_ALL = 64 << 20
"""That may wait for all links together; beyond that none keeps more than `MIN_BYTES`."""
MIN_BYTES = 128 << 10
"""That may wait for a link in any case: one super-packet and the packets of sparse flows."""
PACKET_COST = 256
"""Bytes that a waiting packet costs beside its own, so that a flood of tiny ones is bounded as well."""
MAX_DROPS = 64
"""Packets dropped at once when there are too many, so that the search for the fattest flow is rare."""


@dataclass
class QueueStats:
    """Packets by what became of them, beside those that went their way; queues may share one."""

    dropped_no_room: int = 0
    """Too much waited for the link; of the flow that had the most."""
    dropped_standing: int = 0
    """The flow's packets waited too long for too long, and its sender understands no marks (CoDel). Of a
    super-packet its last segment, which is all that is dropped."""
    marked: int = 0
    """The same, told by a mark instead of a loss (ECN)."""

    def __post_init__(self) -> None:
        self.waiting: int = 0
        """Bytes that wait in all queues that share this."""


class _Flow:
    __slots__ = ("codel", "deficit", "key", "packets", "size")

    def __init__(self, key: int) -> None:
        self.key = key
        self.packets: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.deficit = QUANTUM
        self.codel = Codel()


class FlowQueue:
    """`put` packets as they come, `get` the one whose turn it is.

    `interval` (seconds) may follow the round-trip time of the link, `enough` is the bytes that it sends at
    once: no flow is blamed for having these ready.
    """

    __slots__ = ("_flows", "_max_bytes", "_new", "_old", "cost", "enough", "interval", "sparse", "stats")

    def __init__(self, stats: QueueStats, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._flows: dict[int, _Flow] = {}
        self._new: deque[_Flow] = deque()
        self._old: deque[_Flow] = deque()
        self.cost = 0
        """Bytes that wait, with `PACKET_COST` for each packet; 0 if nothing does."""
        self.interval = INTERVAL
        self.enough = QUANTUM
        self.sparse = False
        """Whether the packet that `get` returned last was of a flow that sends little."""
        self.stats = stats

    def put(self, packet: bytes, now: float) -> None:
        """Queue a packet; others are dropped if too much waits then.

        DecodeError: it is no IP packet, and nothing has changed.
        """
        key = hash(flow(packet)) % MAX_FLOWS
        owner = self._flows.get(key)
        if owner is None:
            owner = self._flows[key] = _Flow(key)
            self._new.append(owner)
        owner.packets.append((now, packet))
        self._count(owner, len(packet) + PACKET_COST)
        limit = MIN_BYTES if self.stats.waiting > MAX_BYTES_OF_ALL else self._max_bytes
        if self.cost > limit:
            self._drop_of_fattest()

    def get(self, now: float) -> bytes | None:
        """The next packet, None when nothing waits."""
        while self._new or self._old:
            flows = self._new or self._old
            owner = flows[0]
            if owner.deficit <= 0 and (self._new or len(self._old) > 1):
                owner.deficit += QUANTUM
                flows.popleft()
                self._old.append(owner)
                continue
            packet = self._leave(owner, now)
            if packet is not None:
                self.sparse = flows is self._new
                # Who is alone takes no turns and owes nobody for more than this packet.
                owner.deficit = max(owner.deficit - len(packet), -len(packet))
                return packet
            flows.popleft()
            if flows is self._new and self._old:
                # One turn behind the others, or a flow could be new again and again.
                self._old.append(owner)
            else:
                del self._flows[owner.key]
        return None

    def clear(self) -> None:
        """Forget what waits."""
        self.stats.waiting -= self.cost
        self.cost = 0
        self._flows.clear()
        self._new.clear()
        self._old.clear()

    def _count(self, owner: _Flow, cost: int) -> None:
        owner.size += cost
        self.cost += cost
        self.stats.waiting += cost

    def _leave(self, owner: _Flow, now: float) -> bytes | None:
        """The flow's next packet that CoDel lets pass."""
        while owner.packets:
            since, packet = owner.packets.popleft()
            self._count(owner, -len(packet) - PACKET_COST)
            if not owner.codel.should_drop(now - since, owner.size, now, self.interval, self.enough):
                return packet
            marked = mark(packet)
            if marked is not None:
                self.stats.marked += 1
                return marked
            self.stats.dropped_standing += 1
            # One segment says it as well as the fifty that a super-packet may have.
            pieces = split(packet, len(packet) - 1)
            if len(pieces) > 1:
                return pieces[0]
        return None

    def _drop_of_fattest(self) -> None:
        """Half of what the fattest flow has, from the front: its sender learns of it the sooner."""
        owner = max(self._flows.values(), key=lambda one: one.size)
        goal = owner.size // 2
        for _ in range(MAX_DROPS):
            _, packet = owner.packets.popleft()
            self._count(owner, -len(packet) - PACKET_COST)
            self.stats.dropped_no_room += 1
            if owner.size <= goal:
                return
