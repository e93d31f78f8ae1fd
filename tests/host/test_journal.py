"""The journal: any bytes parse, a torn line is no change, a full disk is told, the dead hold no lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nconnect.errors import AlreadyRunningError, HostError, NconnectError
from nconnect.host import journal
from nconnect.host.changes import (
    AddressAdded,
    AnyChange,
    LinkUp,
    RouteAdded,
    RuleAdded,
    SysctlSet,
    TableMade,
)
from nconnect.host.journal import Header, Journal, boot_id, encode, netns_id, parse, read

from .namespaces import file_size_limit

HEADER = Header(1, "home", 42, "a-boot", "cookie 7")
CHANGES: tuple[AnyChange, ...] = (
    TableMade("nconnect_home"),
    SysctlSet("net.ipv4.ip_forward", "0", "1", {"net.ipv4.conf.eth0.forwarding": "0"}),
    LinkUp("nc0", 7, 1400, (("net.ipv6.conf.nc0.disable_ipv6", "0"),)),
    AddressAdded("nc0", 7, "100.64.0.2/32"),
    RouteAdded("nc0", "10.0.0.0/8", 700_007, "unicast"),
    RuleAdded(5200, 700_007, 4, 0x1063, True),
)
# The format on disk: a journal that an older version left must be readable after an upgrade.
GOLDEN = b"""\
{"change":"header","version":1,"instance":"home","pid":42,"boot":"a-boot","netns":"cookie 7"}
{"change":"table","table":"nconnect_home"}
{"change":"sysctl","name":"net.ipv4.ip_forward","old":"0","new":"1","side_effects":{"net.ipv4.conf.eth0.forwarding":"0"}}
{"change":"link","link":"nc0","index":7,"mtu":1400,"sysctls":[["net.ipv6.conf.nc0.disable_ipv6","0"]]}
{"change":"address","link":"nc0","index":7,"address":"100.64.0.2/32"}
{"change":"route","link":"nc0","prefix":"10.0.0.0/8","table":700007,"kind":"unicast"}
{"change":"rule","priority":5200,"table":700007,"version":4,"fwmark":4195,"invert":true}
"""


def test_the_format_on_disk() -> None:
    assert encode((HEADER, *CHANGES)) == GOLDEN
    assert parse(GOLDEN).header == HEADER
    assert parse(GOLDEN).changes == CHANGES


@settings(deadline=None)
@given(st.integers(0, len(GOLDEN)))
def test_a_torn_last_line_is_no_change_and_no_damage(length: int) -> None:
    contents = parse(GOLDEN[:length])
    lines = GOLDEN[:length].count(b"\n")
    assert contents.damaged == 0
    assert contents.changes == CHANGES[: max(lines - 1, 0)]


@settings(deadline=None)
@given(st.binary(max_size=300))
@example(b"[" * 100_000 + b"\n")
@example(b'{"change":"route"}\n{"change":"nonsense"}\nnull\n\xff\n')
@example(b'{"change":"header","version":1,"instance":"\xff"}\n')
def test_any_bytes_parse(data: bytes) -> None:
    contents = parse(data)
    assert contents.damaged + len(contents.changes) + (contents.header is not None) <= data.count(b"\n")


@settings(deadline=None)
@given(st.lists(st.sampled_from(CHANGES)), st.binary(max_size=50).filter(lambda junk: b"\n" not in junk))
def test_damage_in_the_middle_costs_its_own_line(changes: list[AnyChange], junk: bytes) -> None:
    data = encode((HEADER, *changes)) + b"{" + junk + b"\n" + encode(CHANGES)
    contents = parse(data)
    assert contents.damaged == 1
    assert contents.changes == (*changes, *CHANGES)


def test_what_was_appended_is_there_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "run" / "home.journal"
    one = Journal.lock(path)
    one.rewrite(())
    one.append(CHANGES[:2])
    one.append(())
    one.append(CHANGES[2:])
    one.close()
    other = Journal.lock(path)
    assert other.previous.changes == CHANGES
    header = other.previous.header
    assert header is not None
    assert (header.instance, header.boot, header.netns) == ("home", boot_id(), netns_id())
    other.remove()
    assert not path.exists()
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_rewritten_journal_stays_locked_and_takes_more(tmp_path: Path) -> None:
    path = tmp_path / "home.journal"
    one = Journal.lock(path)
    one.rewrite(())
    one.append(CHANGES)
    one.rewrite(CHANGES[:1])
    with pytest.raises(AlreadyRunningError, match="home runs already"):
        Journal.lock(path)
    one.append(CHANGES[3:4])
    assert read(path).changes == (CHANGES[0], CHANGES[3])
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
    one.remove()
    assert read(path).header is None


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "home.journal"
    holder = (
        "import sys; from pathlib import Path; from nconnect.host.journal import Journal;"
        "journal = Journal.lock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(AlreadyRunningError):
            Journal.lock(path)
        process.kill()
    Journal.lock(path).remove()


def test_a_journal_removed_while_waiting_for_it_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home.journal"
    path.touch()
    real, calls = journal._try_lock, 0

    def lock_late(fd: int) -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            path.unlink()
        return real(fd)

    monkeypatch.setattr(journal, "_try_lock", lock_late)
    one = Journal.lock(path)
    one.rewrite(())
    assert read(path).header is not None
    one.remove()


def test_without_room_nothing_half_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "home.journal"
    one = Journal.lock(path)
    one.rewrite(())
    one.append(CHANGES[:1])
    whole = path.read_bytes()
    for act in (one.append, one.rewrite):
        with file_size_limit(len(whole) + 20), pytest.raises(HostError, match="nothing was changed"):
            act(CHANGES)
        assert path.read_bytes() == whole
        assert list(tmp_path.iterdir()) == [path]
    one.append(CHANGES[1:2])
    assert read(path).changes == CHANGES[:2]
    one.remove()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NconnectError, match="cannot open the journal"):
        Journal.lock(tmp_path / "file" / "home.journal")
