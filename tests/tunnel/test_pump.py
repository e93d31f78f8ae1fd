"""The pump: whose packet goes where, above all when somebody takes none."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable

import pytest

from nconnect.errors import ProtocolError
from nconnect.host.faketun import FakeTun
from nconnect.packet.queue import QueueStats
from nconnect.packet.virtio import HEADER_SIZE
from nconnect.tunnel.link import Link
from nconnect.tunnel.pump import Pump

from ..nkn.waiting import until

ANN, BOB = (ipaddress.ip_address(text).packed for text in ("100.64.0.2", "100.64.0.3"))
LAN = ipaddress.ip_address("192.168.1.20").packed


def packet(source: bytes, destination: bytes, text: bytes) -> bytes:
    """An IPv4 packet of an unassigned protocol, which nobody looks into."""
    length = (20 + len(text)).to_bytes(2, "big")
    header = b"\x45\0" + length + bytes(5) + b"\xfd" + bytes(2) + source + destination
    return bytes(HEADER_SIZE) + header + text


class StubLink(Link):
    """Takes packets; nothing of the network below."""

    def __init__(self) -> None:
        self.queued: list[bytes] = []
        self.packets: list[bytes] = []
        """Those that were flushed."""
        self.on_batch = lambda batch: None
        self.on_bad_frame: Callable[[ProtocolError], None] = lambda error: None
        self.stats = QueueStats()

    def count_drops(self, stats: QueueStats) -> None:
        self.stats = stats

    def queue(self, packet: bytes) -> None:
        self.queued.append(packet)

    def flush(self) -> bool:
        self.packets += self.queued
        self.queued.clear()
        return True


@pytest.fixture
async def tun() -> AsyncIterator[FakeTun]:
    with FakeTun() as tun:
        yield tun


async def test_each_packet_goes_to_its_own_link(tun: FakeTun) -> None:
    ann, bob = StubLink(), StubLink()
    pump = Pump(tun, {ANN: ann, BOB: bob}.get)
    pump.add(ann, None)
    pump.add(bob, None)
    for number in range(20):
        tun.deliver(packet(LAN, ANN, b"for Ann"))
        tun.deliver(packet(LAN, BOB, b"%d" % number))
    tun.deliver(packet(LAN, LAN, b"for nobody"))
    await until(lambda: len(bob.packets) == 20 and len(ann.packets) == 20)
    assert bob.packets == [packet(LAN, BOB, b"%d" % number) for number in range(20)]
    assert set(ann.packets) == {packet(LAN, ANN, b"for Ann")}
    await until(lambda: pump.stats.dropped_no_route == 1)
    assert pump.stats.packets_out == 40
    pump.close()


async def test_a_burst_of_small_packets_is_flushed_once(tun: FakeTun) -> None:
    flushes: list[int] = []

    class Counting(StubLink):
        def flush(self) -> bool:
            flushes.append(len(self.queued))
            return super().flush()

    ann = Counting()
    for _ in range(100):
        tun.deliver(packet(LAN, ANN, b"small"))
    pump = Pump(tun, {ANN: ann}.get)
    pump.add(ann, None)
    await until(lambda: len(ann.packets) == 100)
    assert flushes == [100]
    pump.close()


async def test_what_comes_while_nobody_is_there_waits_in_the_device(tun: FakeTun) -> None:
    ann = StubLink()
    pump = Pump(tun, {ANN: ann}.get)
    pump.add(ann, None)
    pump.remove(ann)
    tun.deliver(packet(LAN, ANN, b"for Ann"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert ann.queued == ann.packets == []
    pump.add(ann, None)
    await until(lambda: ann.packets == [packet(LAN, ANN, b"for Ann")])
    pump.close()


async def test_drops_of_all_links_are_the_pump_s(tun: FakeTun) -> None:
    ann, bob = StubLink(), StubLink()
    pump = Pump(tun, {ANN: ann, BOB: bob}.get)
    pump.add(ann, None)
    pump.add(bob, None)
    ann.stats.dropped_no_room += 1
    bob.stats.dropped_no_room += 2
    assert pump.stats.dropped_no_room == 3
    pump.close()


async def test_what_is_no_packet_stops_nothing(tun: FakeTun) -> None:
    ann = StubLink()
    pump = Pump(tun, {ANN: ann}.get)
    pump.add(ann, None)
    for runt in (b"x", bytes(9), bytes(30), packet(LAN, ANN, b"cut")[:-1]):
        tun.deliver(runt)
    tun.deliver(packet(LAN, ANN, b"whole"))
    await until(lambda: ann.packets == [packet(LAN, ANN, b"whole")])
    assert pump.stats.dropped_malformed == 4
    pump.close()
