from __future__ import annotations

import itertools

import pytest

from nconnect.ncp import Config
from nconnect.ncp.path import MAX_GIVEN_UP, Path
from nconnect.ncp.rtt import GAPS_KEPT
from nconnect.ncp.send import Segment
from nconnect.ncp.timers import NEVER

RTT = 0.1


def make(*, measured: bool = True) -> Path:
    path = Path(Config(), "a", "b", 1024, 4 << 20)
    if measured:
        for _ in range(50):
            path.on_rtt(0.0, RTT)
    return path


def acked_often(path: Path) -> None:
    """Let it see that this peer does not hold its ACKs back."""
    for i in range(GAPS_KEPT):
        path.rtt.on_ack_packet(5.0 + i / 1000)


def send(path: Path, count: int, now: float, gap: float = 0.001, first: int = 1) -> list[Segment]:
    segments = [Segment(first + i, b"x" * 1000) for i in range(count)]
    for i, segment in enumerate(segments):
        path.on_sent(segment, now + i * gap)
    return segments


def test_nothing_in_flight_nothing_to_lose() -> None:
    path = make()
    assert path.loss_time() == NEVER
    assert path.detect_lost(1e9) == []


def test_times_out_after_the_rto() -> None:
    path = make()
    (segment,) = send(path, 1, 10.0)
    due = path.loss_time()
    assert due == pytest.approx(10.0 + path.rtt.rto)
    assert path.detect_lost(due - 0.001) == []
    assert path.detect_lost(due) == [segment]
    assert path.bytes_in_flight == 0
    assert path.suspect


def test_initial_timeout_is_a_second() -> None:
    path = make(measured=False)
    send(path, 1, 10.0)
    assert path.loss_time() == 11.0


def test_overtaken_by_three_it_is_lost_after_a_quarter_more_than_a_round_trip() -> None:
    path = make()
    acked_often(path)
    segments = send(path, 4, 10.0)
    for segment in segments[1:]:
        path.on_acknowledged(segment, 10.1)
    assert path.loss_time() == pytest.approx(10.0 + 1.25 * RTT)
    assert path.detect_lost(path.loss_time()) == segments[:1]
    assert not path.suspect


def test_overtaken_at_a_peer_that_acknowledges_every_50_ms_it_may_be_in_the_next_ack() -> None:
    path = make()
    segments = send(path, 4, 10.0)
    for segment in segments[1:]:
        path.on_acknowledged(segment, 10.1)
    assert path.loss_time() == pytest.approx(10.0 + RTT + 0.06)


def test_overtaken_by_one_it_is_given_more_time_but_not_the_whole_rto() -> None:
    path = make()
    segments = send(path, 2, 10.0)
    path.on_acknowledged(segments[1], 10.1)
    assert 10.0 + 1.25 * RTT < path.loss_time() < 10.0 + path.rtt.rto


def test_a_late_ack_makes_it_more_patient_and_gives_the_window_back() -> None:
    path = make()
    window = path.congestion.window
    segments = send(path, 10, 10.0)
    for segment in segments[4:]:
        path.on_acknowledged(segment, 10.1)
    path.detect_lost(10.2)
    assert path.congestion.window < window
    assert path.on_late_acks([(1, 4)], 10.21) == 4
    assert path.congestion.window == window
    assert path.on_late_acks([(1, 4)], 10.22) == 0
    segments = send(path, 5, 20.0, first=20)
    for segment in segments[1:]:
        path.on_acknowledged(segment, 10.1)
    assert path.loss_time() > 20.0 + 1.5 * RTT


@pytest.mark.parametrize(("after", "spurious"), [(0.01, 1), (RTT, 0)])
def test_an_ack_right_after_the_resending_on_the_same_path_is_for_the_first(
    after: float, spurious: int
) -> None:
    path = make()
    (segment,) = send(path, 1, 10.0)
    now = path.loss_time()
    path.detect_lost(now)
    path.on_sent(segment, now)
    path.on_acknowledged(segment, now + after)
    assert path.on_late_acks([(1, 1)], now + after) == spurious


def test_backs_off_once_for_all_that_was_sent_before() -> None:
    path = make()
    rto = path.rto
    send(path, 20, 10.0, gap=0.01)
    now = 10.0
    while path.in_flight:
        now = path.loss_time()
        path.detect_lost(now)
    assert now == pytest.approx(10.19 + rto)
    assert path.rto == pytest.approx(2 * rto)
    send(path, 1, 11.0, first=50)
    assert path.loss_time() == pytest.approx(11.0 + 2 * rto)


def test_an_ack_of_fresh_data_ends_the_backoff_and_the_suspicion() -> None:
    path = make()
    rto = path.rto
    send(path, 1, 10.0)
    path.detect_lost(11.0)
    (segment,) = send(path, 1, 12.0, first=2)
    path.on_acknowledged(segment, 10.1)
    assert not path.suspect
    assert path.rto == rto


def test_an_answered_probe_ends_the_suspicion() -> None:
    path = make()
    (segment,) = send(path, 1, 10.0)
    path.detect_lost(11.0)
    probe = Segment(7, b"x")
    path.on_probe_sent(probe, 11.0)
    assert path.probe_at > 11.0
    assert path.on_late_acks([(7, 1)], 11.1) == 0
    assert not path.suspect
    assert segment.path is None


def test_probes_come_less_and_less_often() -> None:
    path = make()
    send(path, 1, 10.0)
    path.detect_lost(11.0)
    times = [path.probe_at]
    for i in range(8):
        path.on_probe_sent(Segment(100 + i, b"x"), times[-1])
        times.append(path.probe_at)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 10.0


def test_a_lost_connection_gives_up_all_without_blame() -> None:
    path = make()
    window = path.congestion.window
    segments = send(path, 5, 10.0)
    assert path.drop_all() == segments
    assert path.bytes_in_flight == 0
    assert path.congestion.window == window
    assert not path.suspect


def test_room_is_what_the_window_leaves_but_one_packet_may_always_go() -> None:
    path = make()
    assert path.has_room(10**9)
    send(path, 1, 10.0)
    assert path.has_room(path.congestion.window - 1000)
    assert not path.has_room(path.congestion.window)


def test_memory_of_what_was_given_up_is_bounded() -> None:
    path = make()
    for i in range(5):
        send(path, MAX_GIVEN_UP, 10.0 + i, first=1 + i * MAX_GIVEN_UP)
        path.drop_all()
        path.on_probe_sent(Segment(10_000 + i, b""), 10.0)
    assert path.on_late_acks([(1, 1 << 31)], 20.0) == MAX_GIVEN_UP
