"""Two connections in virtual time with a seeded network between them.

The idea is quinn-proto's tests/util.rs: nothing waits, `step()` jumps to the next thing that happens.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from nconnect.errors import ProtocolError
from nconnect.ncp import Closed, Config, Connection, Event, Mode, Transmit, Writable

# More turns at one instant than any honest exchange needs: a timer that does not move on.
MAX_TURNS_AT_ONCE = 20_000


@dataclass
class Link:
    """One direction of one path."""

    delay: float = 0.02  # seconds one way
    jitter: float = 0.0  # seconds, uniform on top; packets overtake each other
    loss: float = 0.0  # part of the packets
    duplicate: float = 0.0  # part of the packets
    rate: float = 0.0  # bytes per second; 0: no limit
    queue: float = 1.0  # seconds of `rate` that it buffers
    down: bool = False
    busy_until: float = 0.0

    def arrivals(self, size: int, now: float, rng: random.Random) -> list[float]:
        """When a packet of `size` bytes arrives: never, once or more often."""
        if self.down or rng.random() < self.loss:
            return []
        sent = now
        if self.rate:
            start = max(now, self.busy_until)
            if start - now > self.queue:
                return []
            sent = self.busy_until = start + size / self.rate
        copies = 1 + (rng.random() < self.duplicate)
        return [sent + self.delay + rng.uniform(0, self.jitter) for _ in range(copies)]


@dataclass
class Endpoint:
    """A connection and an application that writes its outbox and reads at once, unless told not to."""

    connection: Connection
    mode: Mode
    outbox: deque[bytes] = field(default_factory=deque)
    received: list[bytes] = field(default_factory=list)
    received_at: list[float] = field(default_factory=list)
    received_bytes: int = 0
    events: list[Event] = field(default_factory=list)
    errors: list[ProtocolError] = field(default_factory=list)
    reading: bool = True
    sent_packets: int = 0
    sent_bytes: int = 0

    @property
    def data(self) -> bytes:
        return b"".join(self.received)

    @property
    def end(self) -> Closed | None:
        return next((event for event in self.events if isinstance(event, Closed)), None)

    def write(self, now: float) -> None:
        while self.outbox and not self.connection.closed:
            taken = self.connection.write(self.outbox[0], now)
            if taken == len(self.outbox[0]):
                self.outbox.popleft()
                continue
            if taken:
                self.outbox[0] = self.outbox[0][taken:]
            return

    def read(self, now: float) -> None:
        while True:
            if self.mode is Mode.STREAM:
                chunk = self.connection.read(1 << 16, now) or None
            else:
                chunk = self.connection.receive_message(now)
            if chunk is None:
                return
            self.received.append(chunk)
            self.received_at.append(now)
            self.received_bytes += len(chunk)


class Pair:
    """`dialler` and `acceptor`, and a `Link` for each path and direction."""

    def __init__(
        self,
        dialler: Config | None = None,
        acceptor: Config | None = None,
        *,
        seed: int = 0,
        paths: int = 1,
        acceptor_paths: int | None = None,
        link: Callable[[], Link] = Link,
    ) -> None:
        self.now = 100.0
        self.rng = random.Random(seed)
        self.heap: list[tuple[float, int, Endpoint, str, str, bytes]] = []
        self.count = 0
        self.turns = 0
        self.on_send: Callable[[Endpoint, Transmit], None] | None = None
        self._make_link = link
        dialler = dialler or Config()
        acceptor = acceptor or dialler
        names = [f"__{i}__" for i in range(max(paths, acceptor_paths or 0))]
        self.dialler = Endpoint(Connection(dialler, local_ids=names[:paths]), dialler.mode)
        self.acceptor = Endpoint(
            Connection(acceptor, local_ids=names[: acceptor_paths or paths]), acceptor.mode
        )
        self.links: dict[tuple[bool, str], Link] = {}

    def link(self, sender: Endpoint, local_id: str) -> Link:
        """The link that `sender` sends on from its sub-client `local_id`."""
        key = (sender is self.dialler, local_id)
        if key not in self.links:
            self.links[key] = self._make_link()
        return self.links[key]

    def both_links(self, local_id: str) -> list[Link]:
        return [self.link(self.dialler, local_id), self.link(self.acceptor, local_id)]

    def peer(self, endpoint: Endpoint) -> Endpoint:
        return self.acceptor if endpoint is self.dialler else self.dialler

    # Running

    def establish(self, within: float = 30.0) -> Pair:
        self.dialler.connection.connect(self.now)
        self.run(lambda: self.dialler.connection.established and self.acceptor.connection.established, within)
        return self

    def run(self, until: Callable[[], bool], within: float) -> float:
        """Step until the condition holds; seconds it took. Fails if it does not hold within so many."""
        start = self.now
        self.drain()
        while not until():
            assert self.step(start + within), f"not after {within} s of virtual time"
        return self.now - start

    def deliver(self, receiver: Endpoint, size: int, within: float) -> float:
        """Step until `receiver` has read `size` bytes in all; seconds it took."""
        return self.run(lambda: receiver.received_bytes >= size, within)

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        self.drain()
        while self.step(end):
            pass
        self.now = end

    def step(self, limit: float) -> bool:
        """Do the next thing that happens by `limit`; whether there was one."""
        times = [self.heap[0][0]] if self.heap else []
        for endpoint in (self.dialler, self.acceptor):
            timeout = endpoint.connection.next_timeout()
            if timeout is not None:
                times.append(timeout)
        if not times or min(times) > limit:
            return False
        following = max(self.now, min(times))
        self.turns = 0 if following > self.now else self.turns + 1
        assert self.turns < MAX_TURNS_AT_ONCE, "time stands still: a timer is never done"
        self.now = following
        while self.heap and self.heap[0][0] <= self.now:
            _, _, receiver, local_id, remote_id, data = heapq.heappop(self.heap)
            try:
                receiver.connection.receive(data, local_id, remote_id, self.now)
            except ProtocolError as error:
                receiver.errors.append(error)
        for endpoint in (self.dialler, self.acceptor):
            timeout = endpoint.connection.next_timeout()
            if timeout is not None and timeout <= self.now:
                endpoint.connection.handle_timeout(self.now)
        self.drain()
        return True

    def drain(self) -> None:
        for endpoint in (self.dialler, self.acceptor):
            if endpoint.reading:
                endpoint.read(self.now)
            writable = True
            while writable:
                endpoint.write(self.now)
                self.transmit(endpoint)
                events = endpoint.connection.events()
                endpoint.events += events
                writable = any(isinstance(event, Writable) for event in events)

    def transmit(self, endpoint: Endpoint) -> None:
        for item in endpoint.connection.transmit(self.now):
            endpoint.sent_packets += 1
            endpoint.sent_bytes += len(item.data)
            if self.on_send is not None:
                self.on_send(endpoint, item)
            self.carry(endpoint, item)

    def carry(self, sender: Endpoint, item: Transmit) -> None:
        link = self.link(sender, item.local_id)
        for when in link.arrivals(len(item.data), self.now, self.rng):
            self.count += 1
            entry = (when, self.count, self.peer(sender), item.remote_id, item.local_id, item.data)
            heapq.heappush(self.heap, entry)
