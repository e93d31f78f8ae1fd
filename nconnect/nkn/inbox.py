"""Bounded memory for what peers send: a queue of messages, and which messages were seen.

Each peer has a share of its own, so that one that floods loses its own messages and nobody else's.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")

# A message is up to 4 MB. All peers together may have 64 MiB waiting, and one peer a quarter of it.
MAX_QUEUED_BYTES = 64 * 1024 * 1024
MAX_PEER_BYTES = MAX_QUEUED_BYTES // 4
# Small messages cost more than their bytes: about 500 for the objects around them.
MESSAGE_OVERHEAD = 500

# nkn-sdk-go MsgCacheExpiration: the other copies of a message come within this time, by the slowest path.
SEEN_SECONDS = 300.0
# What a peer may have seen within that time before its own oldest are forgotten; about 120 bytes each.
MAX_SEEN_PER_PEER = 4096
MAX_SEEN_PEERS = 4096
MAX_SEEN = 262_144


class Inbox(Generic[T]):
    """A queue of messages in the order in which they came, bounded by bytes for each peer and for all."""

    def __init__(self, max_bytes: int = MAX_QUEUED_BYTES, max_peer_bytes: int = MAX_PEER_BYTES) -> None:
        self._max_bytes = max_bytes
        self._max_peer_bytes = max_peer_bytes
        self._queue: deque[tuple[bytes, int, T]] = deque()
        self._peers: dict[bytes, int] = {}
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, peer: bytes, size: int, item: T) -> bool:
        """Queue a message of ``size`` bytes from ``peer``.

        False if it was dropped because there is no room.
        """
        cost = size + MESSAGE_OVERHEAD
        queued = self._peers.get(peer, 0)
        if self._bytes + cost > self._max_bytes or queued + cost > self._max_peer_bytes:
            self.dropped += 1
            return False
        self._queue.append((peer, cost, item))
        self._peers[peer] = queued + cost
        self._bytes += cost
        return True

    def get(self) -> T | None:
        """The oldest message, None if there is none."""
        if not self._queue:
            return None
        peer, cost, item = self._queue.popleft()
        self._bytes -= cost
        left = self._peers[peer] - cost
        if left:
            self._peers[peer] = left
        else:
            del self._peers[peer]
        return item


class Seen:
    """Remembers IDs of each peer for a while, to tell the first copy from the others."""

    def __init__(self, seconds: float = SEEN_SECONDS) -> None:
        self._seconds = seconds
        self._peers: OrderedDict[bytes, dict[bytes, float]] = OrderedDict()
        self._count = 0

    def first(self, peer: bytes, message_id: bytes, now: float) -> bool:
        """Whether this ID of this peer is new; remembers it from now on."""
        seen = self._peers.get(peer)
        if seen is None:
            seen = self._peers[peer] = {}
        self._peers.move_to_end(peer)
        self._forget(seen, now)
        if message_id in seen:
            return False
        seen[message_id] = now
        self._count += 1
        self._trim(seen)
        return True

    def __contains__(self, key: tuple[bytes, bytes]) -> bool:
        peer, message_id = key
        return message_id in self._peers.get(peer, ())

    def _forget(self, seen: dict[bytes, float], now: float) -> None:
        while seen:
            oldest = next(iter(seen))
            if now - seen[oldest] < self._seconds:
                return
            del seen[oldest]
            self._count -= 1

    def _trim(self, seen: dict[bytes, float]) -> None:
        if len(seen) > MAX_SEEN_PER_PEER:
            del seen[next(iter(seen))]
            self._count -= 1
        while self._count > MAX_SEEN or len(self._peers) > MAX_SEEN_PEERS:
            _, forgotten = self._peers.popitem(last=False)
            self._count -= len(forgotten)
