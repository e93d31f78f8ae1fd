"""The audit: what is written comes back, nobody fills the disk or pushes out what was written of others."""

from __future__ import annotations

import os
import stat
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from nconnect.errors import HostError
from nconnect.host.grants import Target
from nconnect.permission import audit
from nconnect.permission.audit import REFUSED, USERS, Audit, Event
from nconnect.permission.audit_reader import Entry, GrantEntry, Reader
from nconnect.permission.decision import Decision, Source
from nconnect.permission.grants import Grant

ANN, BOB = bytes([1]) * 32, bytes([2]) * 32
GRANT = Grant((Target(ip_network("192.168.1.20/32"), "tcp", (80, 80)),), 2000.0, 50_000_000, 10**9)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Log:
    """An audit with a clock of its own, and what it warned of."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = Clock()
        self.warnings: list[str] = []
        self.audit = Audit(directory, self.warnings.append, clock=self.clock)
        self.record = self.audit.record

    def read(self) -> list[Entry]:
        with Reader(self.directory) as reader:
            return list(reader.entries())


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "state" / "audit")


def test_what_is_written_comes_back(log: Log) -> None:
    decision = Decision(GRANT, source=Source.STORE, by="invite:0011")
    log.record(Event.ADMITTED, ANN, name="laptop", addresses=["100.64.0.2"], decision=decision)
    log.clock.now = 1010.5
    log.record(Event.LEFT, ANN, seconds=10.5, bytes_in=0, bytes_out=2_000_000)
    admitted, left = log.read()
    assert (admitted.time, admitted.event, admitted.key) == (1000.0, "admitted", ANN.hex())
    assert (admitted.name, admitted.addresses, admitted.source) == ("laptop", ("100.64.0.2",), "invite:0011")
    assert admitted.grant == GrantEntry(("192.168.1.20:80/tcp",), 2000.0, 50_000_000, 10**9)
    assert (left.event, left.seconds, left.bytes_in, left.bytes_out) == ("left", 10.5, 0, 2_000_000)
    lines = (log.directory / USERS).read_bytes().splitlines()
    assert msgspec.json.decode(lines[1]) == {
        "schema": 1,
        "time": 1010.5,
        "event": "left",
        "key": ANN.hex(),
        "seconds": 10.5,
        "bytes_in": 0,
        "bytes_out": 2_000_000,
    }


@pytest.mark.parametrize(
    ("grant", "served"),
    [
        (GRANT, False),
        (Grant(GRANT.targets, served=True), True),
        (Grant(served=True), True),
        (Grant(), True),
    ],
)
def test_that_all_that_is_served_was_granted_is_told(log: Log, grant: Grant, served: bool) -> None:
    """Beside targets as well, which are all there is otherwise."""
    log.record(Event.CHANGED, ANN, grant=grant)
    [entry] = log.read()
    assert entry.grant is not None
    assert (entry.grant.served, len(entry.grant.targets)) == (served, len(grant.targets))


def test_a_line_of_an_earlier_version(log: Log) -> None:
    log.directory.mkdir(parents=True)
    (log.directory / USERS).write_text(
        '{"schema":1,"time":1.5,"event":"changed","key":"01","grant":{"targets":["10.0.0.1"],"quota":5}}\n'
    )
    [entry] = log.read()
    assert entry.grant == GrantEntry(("10.0.0.1",), quota=5, served=False)


def test_only_its_owner_may_read_it(log: Log) -> None:
    umask = os.umask(0)
    try:
        log.record(Event.ADMITTED, ANN)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((log.directory / USERS).stat().st_mode) == 0o600
    assert stat.S_IMODE(log.directory.stat().st_mode) == 0o700


def test_what_a_stranger_says_is_bounded_and_one_line(log: Log) -> None:
    log.record(Event.REFUSED, ANN, name="x\n\x1b[31m" + "y" * 10_000, reason="no")
    (entry,) = log.read()
    assert len(entry.name) == audit.MAX_TEXT
    assert (log.directory / REFUSED).read_bytes().count(b"\n") == 1
    assert b"\x1b" not in (log.directory / REFUSED).read_bytes()


def test_entries_of_both_files_are_in_the_order_of_time(log: Log) -> None:
    for number in range(10):
        log.clock.now += 1
        log.record(Event.REFUSED if number % 3 == 0 else Event.CHANGED, ANN, name=str(number))
    assert [entry.name for entry in log.read()] == list(map(str, range(10)))


def test_strangers_cannot_push_out_what_is_written_of_users(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 2000)
    log.record(Event.ADMITTED, ANN)
    for number in range(500):
        log.clock.now += audit.SECONDS_A_LINE
        log.record(Event.REFUSED, number.to_bytes(32))
    assert log.read()[0].event == "admitted"
    files = list(log.directory.iterdir())
    assert sum(file.stat().st_size for file in files) < 3 * 2000
    assert len(files) == 3


def test_one_who_comes_and_goes_in_a_loop_leaves_a_bounded_trace(log: Log) -> None:
    for _ in range(10_000):
        log.clock.now += 0.0001
        log.record(Event.ADMITTED, ANN)
    log.record(Event.ADMITTED, BOB)
    assert len(log.read()) == audit.BURST + 1
    log.clock.now += audit.SECONDS_A_LINE
    log.record(Event.LEFT, ANN)
    assert log.read()[-1].omitted == 10_000 - audit.BURST


def test_keys_cost_bounded_memory(log: Log) -> None:
    for number in range(2 * audit.MAX_COUNTED):
        log.record(Event.ADMITTED, number.to_bytes(32))
    assert len(log.audit._lines) == audit.MAX_COUNTED


def test_a_clock_that_is_set_back_stops_nothing(log: Log) -> None:
    for _ in range(audit.BURST):
        log.record(Event.ADMITTED, ANN)
    log.clock.now -= 1e6
    log.record(Event.ADMITTED, ANN)
    log.clock.now += audit.SECONDS_A_LINE
    log.record(Event.LEFT, ANN)
    assert "left" in [entry.event for entry in log.read()]


def test_a_full_disk_costs_lines_and_one_warning(tmp_path: Path) -> None:
    """/dev/full takes every open, and no byte."""
    log = Log(tmp_path)
    (tmp_path / "full").symlink_to("/dev/full")
    log.record(Event.ADMITTED, ANN)
    writes, real = [], os.write

    def full(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return (
            real(descriptor, data[:20]) if len(writes) == 1 else real(os.open("/dev/full", os.O_WRONLY), data)
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", full)
        for _ in range(3):
            log.record(Event.LEFT, ANN)
    assert log.warnings == [
        f"warning: the audit in {tmp_path} cannot be written: No space left on device; it goes on without"
    ]
    log.record(Event.ADMITTED, BOB)
    assert [entry.key for entry in log.read()] == [ANN.hex(), BOB.hex()]
    assert len(log.warnings) == 1


def test_a_place_that_is_no_directory_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "audit").touch()
    log = Log(tmp_path / "audit")
    log.record(Event.ADMITTED, ANN)
    log.record(Event.ADMITTED, ANN)
    assert len(log.warnings) == 1


def test_a_link_in_its_place_is_not_followed(log: Log, tmp_path: Path) -> None:
    log.record(Event.ADMITTED, ANN)
    (log.directory / REFUSED).symlink_to(tmp_path / "elsewhere")
    log.record(Event.REFUSED, BOB)
    assert len(log.warnings) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_lines_that_are_none_are_left_out(log: Log) -> None:
    log.record(Event.ADMITTED, ANN)
    with (log.directory / USERS).open("ab") as file:
        file.write(b'\n{"schema": 1\n[]\n\xff\xfe\n{"schema": 1, "time": "x"}\n')
    log.record(Event.LEFT, ANN)
    assert [entry.event for entry in log.read()] == ["admitted", "left"]


def test_a_reader_goes_on_where_it_was(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also past a new file, and not before a line is whole."""
    monkeypatch.setattr(audit, "MAX_FILE_BYTES", 3000)
    with Reader(log.directory) as reader:
        assert list(reader.entries()) == []
        seen: list[str] = []
        for number in range(100):
            log.clock.now += audit.SECONDS_A_LINE
            log.record(f"event {number}", ANN)
            if number % 3 == 0:
                seen += [entry.event for entry in reader.entries()]
        assert (log.directory / (USERS + audit.OLDER)).exists()
        assert seen == [f"event {number}" for number in range(100)]
        with (log.directory / USERS).open("ab") as file:
            file.write(b'{"schema":1,"time":5000,')
            file.flush()
            assert list(reader.entries()) == []
            file.write(b'"event":"whole"}\n')
        assert [entry.event for entry in reader.entries()] == ["whole"]


def test_what_cannot_be_read_is_told(log: Log) -> None:
    (log.directory / USERS).mkdir(parents=True)
    with Reader(log.directory) as reader, pytest.raises(HostError, match="cannot read"):
        list(reader.entries())
