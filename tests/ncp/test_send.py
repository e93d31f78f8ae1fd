from __future__ import annotations

import time

import pytest

from nconnect.ncp import Config, Mode
from nconnect.ncp.send import MAX_PACKETS, Segment, SendBuffer
from nconnect.ncp.sequence import MAX_SEQUENCE
from nconnect.ncp.timers import NEVER


def make(mode: Mode = Mode.STREAM, mtu: int = 10, window: int = 100, **options: int) -> SendBuffer:
    return SendBuffer(Config(mode=mode, **options), mtu, window)


def take_all(send: SendBuffer) -> list[Segment]:
    segments = []
    while send.next_size():
        segments.append(send.take(0.0))
    return segments


def payloads(segments: list[Segment]) -> list[bytes]:
    return [bytes(segment.data) for segment in segments]


def test_stream_merges_and_cuts_writes() -> None:
    send = make()
    for chunk in (b"abc", b"defg", b"hijklmnopqrstuvwxyz"):
        assert send.write(chunk, 0.0) == len(chunk)
    assert payloads(take_all(send)) == [b"abcdefghij", b"klmnopqrst"]
    send.flush()
    assert payloads(take_all(send)) == [b"uvwxyz"]


def test_stream_sends_part_of_a_packet_at_once_when_nothing_is_in_flight() -> None:
    send = make()
    send.write(b"abc", 0.0)
    assert payloads(take_all(send)) == [b"abc"]
    send.write(b"def", 1.0)
    assert take_all(send) == []
    assert send.flush_at == 1.010
    send.acknowledge([(1, 1)])
    assert payloads(take_all(send)) == [b"def"]
    assert send.flush_at == NEVER


def test_flush_is_for_what_was_there_then() -> None:
    send = make()
    send.write(b"x", 0.0)
    take_all(send)
    send.write(b"a" * 25, 0.0)
    send.flush()
    send.write(b"b" * 3, 1.0)
    assert payloads(take_all(send)) == [b"a" * 10, b"a" * 10, b"a" * 5 + b"b" * 3]


def test_messages_are_not_merged() -> None:
    send = make(Mode.MESSAGE)
    assert send.write(b"abc", 0.0) == 3
    assert send.write(bytearray(b"de"), 0.0) == 2
    assert payloads(take_all(send)) == [b"abc", b"de"]


def test_send_buffer_takes_part_of_a_stream_and_no_part_of_a_message() -> None:
    stream = make(send_buffer=10)
    assert stream.write(b"x" * 15, 0.0) == 10
    assert stream.write(b"x", 0.0) == 0
    messages = make(Mode.MESSAGE, send_buffer=10)
    assert messages.write(b"x" * 15, 0.0) == 15
    assert messages.write(b"x", 0.0) == 0


def test_a_view_may_be_changed_after_writing() -> None:
    for mode in Mode:
        send = make(mode)
        data = bytearray(b"abc")
        send.write(memoryview(data), 0.0)
        data[:] = b"xyz"
        assert payloads(take_all(send)) == [b"abc"]


def test_the_window_of_the_peer_is_kept() -> None:
    send = make(Mode.MESSAGE, window=25)
    for _ in range(4):
        send.write(b"x" * 10, 0.0)
    assert len(take_all(send)) == 2
    send.acknowledge([(1, 2)])
    assert send.next_size() == 0
    assert send.blocked
    send.on_peer_read(10)
    assert not send.blocked
    assert len(take_all(send)) == 1


def test_the_peer_cannot_have_read_more_than_was_sent() -> None:
    send = make(Mode.MESSAGE, window=25)
    send.on_peer_read(2**64 - 1)
    for _ in range(4):
        send.write(b"x" * 10, 0.0)
    assert len(take_all(send)) == 2


def test_lost_packets_go_before_new_ones_and_keep_their_number() -> None:
    send = make(Mode.MESSAGE)
    for payload in (b"a", b"b", b"c"):
        send.write(payload, 0.0)
    first, second = send.take(0.0), send.take(0.0)
    send.mark_lost([first, second])
    assert send.backlog == 3
    send.acknowledge([(1, 1)])
    assert send.backlog == 2
    again = take_all(send)
    assert payloads(again) == [b"b", b"c"]
    assert again[0] is second
    assert not send.drained
    send.acknowledge([(2, 2)])
    assert send.unacknowledged == 0
    assert not send.drained
    send.on_peer_read(3)
    assert send.drained


def acknowledged(send: SendBuffer, ranges: list[tuple[int, int]]) -> list[int]:
    return sorted(segment.sequence for segment in send.acknowledge(ranges))


def in_flight(count: int, first: int = 1) -> SendBuffer:
    send = make(Mode.MESSAGE, window=1000, first_sequence=first)
    for _ in range(count):
        send.write(b"x", 0.0)
    take_all(send)
    return send


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ([(1, 3)], [1, 2, 3]),
        ([(2, 1), (5, 2)], [2, 5, 6]),
        ([(2, 4), (3, 5), (3, 1)], [2, 3, 4, 5, 6, 7]),
        ([(10, 1)], [10]),
        ([(11, 1)], []),  # never sent
        ([(5, 100)], []),  # ends beyond what was sent: not counted, as in ncp-go
        ([(MAX_SEQUENCE, 3)], [1, 2]),  # begins before what is in flight: cut there, as in ncp-go
        ([(5, 0)], []),
        ([(11, 0)], []),
        ([(5, MAX_SEQUENCE - 1)], []),  # goes round the whole cycle
        ([(0, 2)], [1]),  # 0 is no number; it counts as the one before 1
    ],
)
def test_what_a_range_acknowledges(ranges: list[tuple[int, int]], expected: list[int]) -> None:
    assert acknowledged(in_flight(10), ranges) == expected


def test_ranges_across_the_wrap() -> None:
    send = in_flight(10, MAX_SEQUENCE - 4)
    assert acknowledged(send, [(MAX_SEQUENCE - 1, 4)]) == [1, 2, MAX_SEQUENCE - 1, MAX_SEQUENCE]
    assert acknowledged(send, [(MAX_SEQUENCE - 4, 10)]) == sorted(
        {3, 4, 5, MAX_SEQUENCE - 4, MAX_SEQUENCE - 3, MAX_SEQUENCE - 2}
    )
    assert send.unacknowledged == 0


def test_a_packet_is_acknowledged_once() -> None:
    send = in_flight(5)
    assert acknowledged(send, [(1, 5)]) == [1, 2, 3, 4, 5]
    assert acknowledged(send, [(1, 5)]) == []


def test_hostile_ranges_cost_no_more_than_what_is_in_flight() -> None:
    send = in_flight(1000)
    ranges = [(2 + i % 7, 2**31 + i) for i in range(500)] + [(2, 998), (3, 997)] * 250
    started = time.perf_counter()
    assert acknowledged(send, ranges) == list(range(2, 1000))
    assert time.perf_counter() - started < 1.0


def test_a_peer_that_never_acknowledges_the_oldest_cannot_widen_the_span() -> None:
    send = SendBuffer(Config(mode=Mode.MESSAGE), 10, 2**32 - 1)
    sent = 0
    for _ in range(MAX_PACKETS + 100):
        send.write(b"x", 0.0)
        while send.next_size():
            sequence = send.take(0.0).sequence
            sent += 1
            if sequence > 1:
                send.acknowledge([(sequence, 1)])
    assert sent == MAX_PACKETS
    assert len(send.outstanding) == 1
    send.acknowledge([(1, 1)])
    assert send.next_size()
