"""The pump: packets from the TUN device to links, and from links to the TUN device.

Out: read until the device is empty or a burst is full, sort by destination into the batches of links, flush.
In: open a batch, check each packet's header and source, write it to the device.

The device is read whether or not a link has room: what waits there would wait in one line, in which
one user's download holds up another's keystroke. Each link has queues of its own for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Never, Protocol

from nconnect.errors import DecodeError, HostError, NconnectError, ProtocolError
from nconnect.host.tun import TunDevice
from nconnect.packet import ip, virtio
from nconnect.packet.batch import iter_packets
from nconnect.packet.queue import QueueStats
from nconnect.tunnel.link import Link

READ_BURST = 256
"""Packets read before the loop turns to its other work, when they are small: about 1 ms of work. All of them
can share a message, whose price is that of some fifty packets."""
READ_BURST_BYTES = 1 << 20
"""And when they are large."""


@dataclass
class PumpStats(QueueStats):
    """Packets by what became of them."""

    packets_out: int = 0
    packets_in: int = 0
    dropped_no_route: int = 0
    """No link has the destination's address."""
    dropped_frames: int = 0
    """Frames that were malformed, forged or seen before."""
    dropped_malformed: int = 0
    dropped_source: int = 0
    """The source address is not one that the peer was given."""
    dropped_device: int = 0
    """The kernel did not take the packet."""


OnDrop = Callable[[str], None]


class Receiver(Protocol):
    """What takes the device's packets for some address: a link, say."""

    def queue(self, packet: bytes) -> None:
        """Take one; DecodeError: it is none."""

    def flush(self) -> object:
        """That was all for now."""


class Pump:
    """Moves packets between one TUN device and links.

    `route` finds the receiver for a destination address (4 or 16 bytes), or None.
    """

    def __init__(self, tun: TunDevice, route: Callable[[bytes], Receiver | None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[Never] = self._loop.create_future()
        """Set to a NconnectError when the device is taken away for good."""
        self._tun = tun
        self._route = route
        self._receivers: set[Receiver] = set()
        self._reading = False
        self.stats = PumpStats()

    def add(
        self, link: Link, sources: frozenset[bytes] | None, on_drop: OnDrop = lambda reason: None
    ) -> None:
        """Take up `link`. `sources`: the only source addresses that its packets may have; None: any.

        `on_drop` hears why something that the peer sent was dropped, each time.
        """

        def bad_frame(error: ProtocolError) -> None:
            self.stats.dropped_frames += 1
            on_drop(str(error))

        link.on_batch = lambda batch: self._on_batch(batch, sources, on_drop)
        link.on_bad_frame = bad_frame
        link.count_drops(self.stats)
        self.read_for(link)

    def read_for(self, receiver: Receiver) -> None:
        """Read the device as long as this one is there."""
        self._receivers.add(receiver)
        self._resume()

    def remove(self, receiver: Receiver) -> None:
        """Forget a link, or another receiver; the packets that wait for it are lost."""
        self._receivers.discard(receiver)
        if not self._receivers:
            self._pause()

    def check(self) -> str:
        """See whether the device is still there, and make it again if it is not; what to say of that, if so.

        Without a link nobody reads it, and nobody would notice. Its addresses and routes went with it.
        """
        try:
            self._tun.check()
        except HostError:
            self._pause()
            try:
                self._tun.reopen()
            except NconnectError as error:
                self._fail(error)
            else:
                self._resume()
                return f"warning: somebody deleted {self._tun.name}; it is there again"
        return ""

    def close(self) -> None:
        """Stop reading. The device stays open: it belongs to the caller."""
        self._receivers.clear()
        self._pause()
        self.failed.cancel()

    def _resume(self) -> None:
        if self._receivers and not self._reading:
            self._reading = True
            self._loop.add_reader(self._tun.fd, self._on_readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._tun.fd)

    def _on_readable(self) -> None:
        try:
            self._read_burst()
        except HostError:
            self._pause()  # until `check`

    def _read_burst(self) -> None:
        read, route, stats = self._tun.read, self._route, self.stats
        touched: set[Receiver] = set()
        left = READ_BURST_BYTES
        for _ in range(READ_BURST):
            packet = read()
            if not packet:
                break
            try:
                receiver = route(ip.destination(packet))
                if receiver is None:
                    stats.dropped_no_route += 1
                    continue
                receiver.queue(packet)
            except DecodeError:
                stats.dropped_malformed += 1
                continue
            stats.packets_out += 1
            touched.add(receiver)
            left -= len(packet)
            if left <= 0:
                break
        for receiver in touched:
            receiver.flush()

    def _on_batch(self, batch: memoryview, sources: frozenset[bytes] | None, on_drop: OnDrop) -> None:
        write, stats = self._tun.write, self.stats
        try:
            for packet in iter_packets(batch):
                try:
                    virtio.check(packet)
                    known = sources is None or ip.source(packet) in sources
                except DecodeError as error:
                    stats.dropped_malformed += 1
                    on_drop(str(error))
                    continue
                if not known:
                    stats.dropped_source += 1
                    on_drop("a packet had a source address that was not leased to it")
                elif write(packet):
                    stats.packets_in += 1
                else:
                    stats.dropped_device += 1
        except DecodeError as error:
            stats.dropped_malformed += 1
            on_drop(str(error))
        except HostError:
            self._pause()

    def _fail(self, error: NconnectError) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
