"""For how long a lease is held, by a clock of the test's."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from nconnect.errors import ConfigError, HostError
from nconnect.tunnel import holding as module
from nconnect.tunnel.holding import SAVE_INTERVAL, Holding

ANN, BOB = b"a" * 32, b"b" * 32
LEASE = 600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def holding(tmp_path: Path, clock: Clock) -> Holding:
    return Holding(tmp_path / "held.json", LEASE, clock)


def again(tmp_path: Path, clock: Clock) -> Holding:
    """As a provider that was started again has it."""
    return Holding(tmp_path / "held.json", LEASE, clock)


def test_a_lease_is_held_until_its_time_is_over(holding: Holding, clock: Clock) -> None:
    holding.heard(ANN)
    clock.now += LEASE - 1
    assert ANN in holding
    assert holding.over() == []
    assert dict(holding) == {ANN: 1.0}
    clock.now += 1
    assert holding.over() == [ANN]
    holding.release(ANN)
    assert ANN not in holding
    assert holding.over() == []


def test_it_begins_when_the_user_was_heard_of_last(holding: Holding, clock: Clock) -> None:
    holding.heard(ANN)
    clock.now += 100
    holding.heard(ANN, 16.0)
    assert dict(holding) == {ANN: LEASE - 16}
    holding.heard(ANN, 50.0)
    assert dict(holding) == {ANN: LEASE - 16}, "what was heard is not unheard"


def test_sleep_counts(holding: Holding, clock: Clock) -> None:
    """The clock goes on while the machine sleeps, so it is over as soon as it wakes."""
    holding.heard(ANN)
    clock.now += 8 * 3600
    assert holding.over() == [ANN]


def test_a_restart_does_not_begin_the_time_anew(tmp_path: Path, holding: Holding, clock: Clock) -> None:
    holding.heard(ANN)
    clock.now += 300
    holding.heard(BOB)
    holding.save()
    clock.now += 200
    after = again(tmp_path, clock)
    # Had they been there, they might have been heard until the next write was due.
    assert dict(after) == {ANN: LEASE - 500 + SAVE_INTERVAL, BOB: LEASE - 200 + SAVE_INTERVAL}
    clock.now += LEASE - 500 + SAVE_INTERVAL
    assert after.over() == [ANN]


def test_nobody_is_heard_in_the_future(tmp_path: Path, holding: Holding, clock: Clock) -> None:
    holding.heard(ANN)
    holding.save()
    clock.now += 1
    assert dict(again(tmp_path, clock)) == {ANN: LEASE}


def test_after_a_boot_no_connection_is_left_to_end(
    tmp_path: Path, holding: Holding, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding.heard(ANN)
    holding.save()
    clock.now = 20.0
    monkeypatch.setattr(module, "boot_id", lambda: "another boot")
    assert dict(again(tmp_path, clock)) == {}


def test_it_is_written_at_once_for_who_is_new_and_seldom_for_who_stays(
    holding: Holding, clock: Clock
) -> None:
    assert not holding.unsaved
    holding.heard(ANN)
    assert holding.unsaved
    holding.save()
    writes = 0
    for _ in range(600):
        clock.now += 1
        holding.heard(ANN)
        if holding.unsaved:
            writes += 1
            holding.save()
    assert writes == 600 / SAVE_INTERVAL
    holding.release(ANN)
    assert holding.unsaved
    holding.save()
    clock.now += 10 * SAVE_INTERVAL
    assert not holding.unsaved, "nobody is held, so nothing changes"


def test_the_file_is_its_owner_s_alone(tmp_path: Path, holding: Holding) -> None:
    holding.heard(ANN)
    holding.save()
    assert stat.S_IMODE((tmp_path / "held.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", '{"boot": "x"}', '{"boot": "x", "heard": {"zz": 1}}', "\x00"])
def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path, clock: Clock, text: str) -> None:
    (tmp_path / "held.json").write_text(text)
    with pytest.raises(ConfigError, match=r"held\.json .*move it away"):
        again(tmp_path, clock)


def test_a_directory_in_its_place(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "held.json").mkdir()
    with pytest.raises(HostError, match=r"cannot read .*held\.json"):
        again(tmp_path, clock)


def test_the_clock_is_that_of_the_boot() -> None:
    assert abs(module.boot_clock() - float(Path("/proc/uptime").read_text().split()[0])) < 1
