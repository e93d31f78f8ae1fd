from __future__ import annotations

import itertools

from nconnect.ncp import Config
from nconnect.ncp.path import Path
from nconnect.ncp.schedule import RUN_BYTES, Scheduler
from nconnect.ncp.send import Segment
from nconnect.ncp.timers import NEVER


def make(*round_trips: float, mtu: int = 1024) -> tuple[Scheduler, list[Path]]:
    paths = [Path(Config(), f"l{i}", f"r{i}", mtu, 4 << 20) for i in range(len(round_trips))]
    for path, rtt in zip(paths, round_trips, strict=True):
        path.on_rtt(0.0, rtt)
    return Scheduler(paths), paths


def fill(path: Path, size: int) -> None:
    path.on_sent(Segment(path.bytes_sent + 1, b"x" * size), 0.0)


def test_the_quickest_path_is_first() -> None:
    scheduler, paths = make(0.2, 0.05, 0.1)
    assert scheduler.choose(1000, 1000, 0.0) is paths[1]


def test_a_path_that_the_peer_was_heard_on_is_first() -> None:
    scheduler, paths = make(0.1, 0.1, 0.2, 0.3)
    paths[2].heard = paths[3].heard = True
    assert scheduler.choose(1000, 1000, 0.0) is paths[2]
    fill(paths[2], paths[2].congestion.window)
    fill(paths[3], paths[3].congestion.window)
    assert scheduler.choose(1000, 100 << 20, 0.0) is paths[0], "better a silent path than a full one"


def test_equal_paths_share_the_load_in_runs() -> None:
    scheduler, paths = make(0.1, 0.1)
    chosen = []
    for _ in range(2 * RUN_BYTES // 1024):
        path = scheduler.choose(1024, 1 << 20, 0.0)
        assert path is not None
        fill(path, 1024)
        chosen.append(path)
    switches = sum(a is not b for a, b in itertools.pairwise(chosen))
    assert switches == 1
    assert set(chosen) == set(paths)


def test_big_packets_go_to_the_emptier_path_each() -> None:
    scheduler, paths = make(0.1, 0.1, mtu=RUN_BYTES)
    for expected in paths:
        path = scheduler.choose(RUN_BYTES, 1 << 20, 0.0)
        assert path is expected
        fill(path, RUN_BYTES)


def test_waits_for_a_quick_path_rather_than_arrive_later_on_a_slow_one() -> None:
    scheduler, paths = make(0.02, 0.5)
    fill(paths[0], paths[0].congestion.window)
    assert scheduler.choose(1000, 1000, 0.0) is None
    assert scheduler.choose(1000, 100 << 20, 0.0) is paths[1]


def test_paths_that_are_not_ready_or_suspect_get_nothing() -> None:
    scheduler, paths = make(0.01, 0.02, 0.03)
    paths[0].ready = False
    paths[1].suspect = True
    assert scheduler.choose(1000, 1000, 0.0) is paths[2]
    paths[2].ready = False
    assert scheduler.choose(1000, 1000, 0.0) is paths[1], "better a suspect path than none"
    paths[1].ready = False
    assert scheduler.choose(1000, 1000, 0.0) is None


def test_a_run_ends_with_its_path() -> None:
    scheduler, paths = make(0.01, 0.02)
    assert scheduler.choose(1000, 1000, 0.0) is paths[0]
    paths[0].ready = False
    assert scheduler.choose(1000, 1000, 0.0) is paths[1]


def test_suspects_are_probed_only_while_others_carry_the_data() -> None:
    scheduler, paths = make(0.01, 0.02)
    assert scheduler.next_probe() == NEVER
    paths[0].suspect = True
    paths[0].probe_at = 5.0
    assert scheduler.next_probe() == 5.0
    assert scheduler.suspects_to_probe(4.9) == []
    assert scheduler.suspects_to_probe(5.0) == [paths[0]]
    paths[1].suspect = True
    assert scheduler.suspects_to_probe(5.0) == []
    assert scheduler.next_probe() == NEVER
