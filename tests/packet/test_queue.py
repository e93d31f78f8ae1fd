"""Who goes first, who is dropped, and what it all may cost; time is virtual."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import UDP

from nconnect.errors import DecodeError
from nconnect.packet import virtio
from nconnect.packet.ip import flow
from nconnect.packet.queue import (
    MAX_BYTES,
    MAX_BYTES_OF_ALL,
    MAX_FLOWS,
    MIN_BYTES,
    PACKET_COST,
    FlowQueue,
    QueueStats,
)
from nconnect.packet.segment import segment

from .packets import ip_layer, plain, super_tcp


@cache
def template(port: int, ecn: int, size: int) -> bytes:
    """The headers in front of `size` bytes."""
    return plain(ip_layer(4, tos=ecn) / UDP(sport=port, dport=9) / bytes(size))[:-size]


def packet(port: int, size: int = 1000, ecn: int = 0, number: int = 0) -> bytes:
    """Of the flow `port`."""
    payload = number.to_bytes(4, "big") + bytes(size - 4)
    return template(port, ecn, len(payload)) + payload


def port(data: bytes) -> int:
    return flow(data)[3]


@pytest.fixture
def queue() -> FlowQueue:
    return FlowQueue(QueueStats())


def drain(queue: FlowQueue, now: float = 0.0) -> list[bytes]:
    packets = []
    while (data := queue.get(now)) is not None:
        packets.append(data)
    return packets


def test_nothing_waits(queue: FlowQueue) -> None:
    assert queue.get(0.0) is None
    assert queue.cost == 0


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(4, 3000)), max_size=60))
def test_every_packet_comes_out_once_and_each_flow_in_order(sent: list[tuple[int, int]]) -> None:
    queue = FlowQueue(QueueStats())
    packets = [packet(one, size, number=number) for number, (one, size) in enumerate(sent)]
    for data in packets:
        queue.put(data, 0.0)
    out = drain(queue)
    assert Counter(out) == Counter(packets)
    for one in range(1, 7):
        assert [data for data in out if port(data) == one] == [data for data in packets if port(data) == one]
    assert queue.cost == 0
    assert not queue._flows


def test_a_sparse_flow_goes_first_each_time(queue: FlowQueue) -> None:
    """A bulk flow has 200 packets waiting; a ping comes now and then, and waits for one packet at most."""
    for _ in range(200):
        queue.put(packet(1), 0.0)
    for _ in range(2):
        queue.get(0.0)
    for _ in range(20):
        queue.put(packet(2, 60), 0.0)
        assert 2 in [port(queue.get(0.0) or b"") for _ in range(2)]
        for _ in range(3):
            queue.get(0.0)


def test_flows_share_by_bytes_whatever_their_packets(queue: FlowQueue) -> None:
    sizes = {1: 60, 2: 1400, 3: 60_000}
    sent: Counter[int] = Counter()
    for one, size in sizes.items():
        for _ in range(500_000 // size):
            queue.put(packet(one, size), 0.0)
    while sum(sent.values()) < 600_000:
        data = queue.get(0.0)
        assert data is not None
        sent[port(data)] += len(data)
    assert max(sent.values()) - min(sent.values()) < 2 * 60_100


def test_who_pretends_to_be_new_gets_no_more_than_a_turn(queue: FlowQueue) -> None:
    """A flow that empties its queue each time stays behind those that wait for one turn."""
    for _ in range(100):
        queue.put(packet(1, 1000), 0.0)
    queue.put(packet(2, 1000), 0.0)
    sent: Counter[int] = Counter()
    for _ in range(100):
        data = queue.get(0.0)
        assert data is not None
        sent[port(data)] += 1
        if port(data) == 2:
            queue.put(packet(2, 1000), 0.0)
    assert 40 <= sent[2] <= 60


def test_who_was_alone_owes_little_to_who_comes(queue: FlowQueue) -> None:
    for _ in range(60):
        queue.put(packet(1, 10_000), 0.0)
    for _ in range(30):
        queue.get(0.0)
    for _ in range(30):
        queue.put(packet(2, 10_000), 0.0)
    sent = Counter(port(queue.get(0.0) or b"") for _ in range(20))
    assert abs(sent[1] - sent[2]) <= 2


def overload(ecn: int, seconds: float, queue: FlowQueue) -> tuple[int, float]:
    """A sender at twice the link's rate of 1000 packets/s, and a ping 10 times a second: (packets that
    passed, longest wait of a ping)."""
    passed, worst = 0, 0.0
    asked: float | None = None
    for step in range(round(seconds * 1000)):
        now = step / 1000
        for _ in range(2):
            queue.put(packet(1, 1400, ecn), now)
        if step % 100 == 0:
            queue.put(packet(2, 60), now)
            asked = now
        data = queue.get(now)
        assert data is not None
        if port(data) == 2:
            assert asked is not None
            worst = max(worst, now - asked)
        else:
            passed += 1
    return passed, worst


def test_a_sender_that_is_too_fast_loses_packets_and_nobody_else_does(queue: FlowQueue) -> None:
    passed, worst = overload(0, 3.0, queue)
    assert worst <= 0.002  # a quantum of another flow that is new as well
    assert queue.stats.dropped_standing > 100
    assert queue.stats.marked == 0
    assert passed > 2900


def test_of_a_super_packet_one_segment_is_lost(queue: FlowQueue) -> None:
    """A sender that is told hears it from one segment; the others need not be sent again."""
    mss, segments = 1000, 40
    sent = passed = 0
    for step in range(300):
        whole = super_tcp(4, bytes(mss * segments), mss, seq=sent)
        for _ in range(2):
            queue.put(whole, step / 100)
        sent += mss * segments
        data = queue.get(step / 100)
        assert data is not None
        virtio.check(data)
        passed += len(segment(data))
    dropped = queue.stats.dropped_standing
    assert dropped > 20
    assert passed == 300 * segments - dropped


def test_one_that_understands_marks_loses_none(queue: FlowQueue) -> None:
    overload(2, 0.5, queue)
    assert queue.stats.marked > 5
    assert queue.stats.dropped_standing == queue.stats.dropped_no_room == 0


def test_the_fattest_flow_pays_when_there_is_too_much() -> None:
    stats = QueueStats()
    queue = FlowQueue(stats, max_bytes=200_000)
    for _ in range(50):
        queue.put(packet(2, 1000), 0.0)
    for _ in range(5000):
        queue.put(packet(1, 1000), 0.0)
        assert queue.cost <= 200_000
    out = Counter(map(port, drain(queue)))
    assert out[2] == 50
    assert out[1] + stats.dropped_no_room == 5000


def test_all_links_together_are_bounded_and_none_is_left_without_room() -> None:
    stats = QueueStats()
    queues = [FlowQueue(stats) for _ in range(MAX_BYTES_OF_ALL // MAX_BYTES + 8)]
    for _ in range(MAX_BYTES // 60_000 + 5):
        for queue in queues:
            queue.put(packet(1, 60_000), 0.0)
    assert stats.waiting == sum(queue.cost for queue in queues)
    assert stats.waiting <= MAX_BYTES_OF_ALL + len(queues) * (MIN_BYTES + 60_000)
    assert all(drain(queue) for queue in queues)
    assert stats.waiting == 0


def test_what_is_forgotten_waits_no_more() -> None:
    stats = QueueStats()
    queue, other = FlowQueue(stats), FlowQueue(stats)
    queue.put(packet(1), 0.0)
    other.put(packet(2), 0.0)
    queue.clear()
    assert queue.get(0.0) is None
    assert stats.waiting == other.cost > 0
    queue.put(packet(1), 0.0)
    assert drain(queue) == [packet(1)]


def test_packets_of_no_size_are_bounded_as_well(queue: FlowQueue) -> None:
    for _ in range(20_000):
        queue.put(packet(1, 4), 0.0)
    assert queue.cost <= MAX_BYTES
    assert len(drain(queue)) <= MAX_BYTES // PACKET_COST


def test_flows_are_bounded(queue: FlowQueue) -> None:
    base = bytearray(packet(1, 4))
    for number in range(5 * MAX_FLOWS):
        base[30:32] = number.to_bytes(2, "big")
        queue.put(bytes(base), 0.0)
    assert len(queue._flows) <= MAX_FLOWS
    assert len(drain(queue)) == 5 * MAX_FLOWS
    assert not queue._flows


@given(st.binary(max_size=80))
def test_what_is_no_packet_changes_nothing(data: bytes) -> None:
    queue = FlowQueue(QueueStats())
    try:
        queue.put(data, 0.0)
    except DecodeError:
        assert queue.cost == 0
        assert queue.get(0.0) is None
