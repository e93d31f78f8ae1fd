"""The store of users: exact, bounded, whole through crashes and several writers, quick with many users."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nconnect.errors import ConfigError, HostError, UsageError
from nconnect.permission import store as module
from nconnect.permission.grants import MAX_TARGETS, Grant, parse_target
from nconnect.permission.store import Store

ANN, BOB, EVE = (bytes([number]) * 32 for number in (1, 2, 3))
GRANT = Grant(
    (parse_target("192.168.1.20:11434/tcp"), parse_target("fd00::/64")),
    expires=1_800_000_000.5,
    rate=50_000_000,
    quota=100_000_000_000,
)
MANY = 10_000
# The bound for a command; a machine that is busy with other tests may be slower at times.
CHANGE_SECONDS = 0.1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "users.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


def test_nobody_at_first(store: Store) -> None:
    assert store.users() == []
    assert store.keys() == set()
    assert store.find(ANN) is None
    assert store.find_name("") is None


def test_it_is_its_owner_s(store: Store, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.allow(ANN, "ann", GRANT)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_a_grant_is_kept_as_it_was(store: Store, path: Path) -> None:
    store.allow(ANN, "ann", GRANT)
    store.allow(BOB, "", Grant(), by="invite:7")
    with Store(path) as other:
        ann, bob = other.users()
    assert (ann.key, ann.name, ann.grant, ann.by, ann.allowed) == (ANN, "ann", GRANT, "allow", True)
    assert (bob.key, bob.name, bob.grant, bob.by) == (BOB, "", Grant(), "invite:7")
    assert store.find_name("ann") == ann
    assert len(store.keys()) == 2


def test_another_grant_takes_the_place_of_the_first(store: Store) -> None:
    store.allow(ANN, "ann", GRANT)
    store.allow(ANN, "", Grant(rate=7))
    [ann] = store.users()
    assert ann.grant == Grant(rate=7)
    assert ann.name == "ann"


def test_revoked_by_key_and_by_name(store: Store) -> None:
    store.allow(ANN, "ann", GRANT)
    store.allow(BOB, "bob", GRANT)
    revoked = store.revoke(ANN)
    assert revoked is not None and revoked.name == "ann"
    assert store.revoke("bob") is not None
    assert store.users() == []
    ann = store.find(ANN)
    assert ann is not None and ann.revoked
    assert store.revoke("bob") is None
    assert store.revoke(EVE) is None
    eve = store.find(EVE)
    assert eve is not None and eve.revoked
    assert store.allow(ANN, "", Grant()).allowed


def test_a_name_is_one_user_s(store: Store) -> None:
    store.allow(ANN, "laptop", Grant())
    with pytest.raises(UsageError, match=f"laptop is {ANN.hex()} already"):
        store.allow(BOB, "laptop", Grant())
    assert store.find(BOB) is None
    assert store.allow(BOB, "laptop", Grant(), another_name=True).name == f"laptop-{BOB.hex()[:16]}"
    store.revoke("laptop")
    assert store.allow(EVE, "laptop", Grant()).key == EVE


def since_of(store: Store, key: bytes) -> float:
    user = store.find(key)
    assert user is not None
    return user.since


def test_usage_survives_and_a_new_grant_begins_anew(store: Store, path: Path) -> None:
    store.allow(ANN, "ann", GRANT)
    store.add_usage(ANN, 1000)
    store.add_usages({ANN: {since_of(store, ANN): 500}, EVE: {0.0: 7}})
    with Store(path) as other:
        ann, eve = other.find(ANN), other.find(EVE)
    assert ann is not None and (ann.used, ann.used_of_grant) == (1500, 1500)
    assert eve is not None and eve.used == 7 and not eve.allowed and not eve.revoked
    before = since_of(store, ANN)
    ann = store.allow(ANN, "", GRANT)
    assert (ann.used, ann.used_of_grant) == (1500, 0)
    store.add_usages({ANN: {before: 30, ann.since: 4}})
    ann = store.find(ANN)
    assert ann is not None and (ann.used, ann.used_of_grant) == (1534, 4)
    store.add_usage(ANN, module.MAX_USED)
    store.add_usage(ANN, module.MAX_USED)
    ann = store.find(ANN)
    assert ann is not None and ann.used == module.MAX_USED


def test_a_clock_that_is_set_back(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What time it was is kept with each change; two grants of one moment can be told apart all the same."""
    clock = time.time() + 1000

    def say(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: clock + seconds)

    say(0)
    store.revoke(BOB)
    say(-900)
    assert store.now() == clock
    first = store.allow(ANN, "ann", GRANT)
    second = store.allow(ANN, "ann", GRANT)
    assert clock <= first.since < second.since < clock + 1
    say(5)
    store.add_usages({})
    say(-900)
    with Store(path) as other:
        assert other.now() == clock + 5
        other.trust_clock()
    assert store.now() == clock - 900


def test_it_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is not allowed makes room, the oldest first; who is allowed never does."""
    monkeypatch.setattr(module, "MAX_USERS", 3)
    store.revoke(ANN)
    store.revoke(BOB)
    for number, left in ((10, [ANN, BOB]), (11, [BOB]), (12, [])):
        store.allow(bytes([number]) * 32, "", Grant())
        assert [key for key in (ANN, BOB) if store.find(key)] == left
    with pytest.raises(UsageError, match="3 users are allowed, which is the limit"):
        store.allow(EVE, "", Grant())
    with pytest.raises(UsageError, match=f"{MAX_TARGETS} is the limit"):
        store.allow(bytes([10]) * 32, "", Grant((parse_target("10.0.0.1"),) * (MAX_TARGETS + 1)))
    assert len(store.keys()) == 3


def test_who_else_changed_something(store: Store, path: Path) -> None:
    assert store.changes() is None
    assert store.changes() == set()
    store.allow(ANN, "", Grant())
    with Store(path) as other:
        other.allow(BOB, "", Grant())
        other.add_usage(EVE, 1)
    assert store.changes() == {ANN, BOB}
    assert store.changes() == set()
    with Store(path) as other:
        other.revoke(BOB)
        other.add_usage(ANN, 1)
    assert store.changes() == {BOB}


def test_more_changes_than_can_be_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.changes()
    for _ in range(module.MAX_CHANGES):
        store.revoke(ANN)
    assert store.changes() == {ANN}
    for _ in range(module.MAX_CHANGES + 1):
        store.revoke(ANN)
    assert store.changes() is None
    store.revoke(BOB)
    assert store.changes() == {BOB}


def test_who_is_forgotten_has_changed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was revoked may be let in by others once that is not known any more."""
    monkeypatch.setattr(module, "MAX_USERS", 1)
    store.revoke(ANN)
    store.changes()
    store.allow(BOB, "", Grant())
    assert store.changes() == {ANN, BOB}


def back_up(path: Path) -> Path:
    """A copy of the store, as `.backup` of the sqlite3 command makes it."""
    copy = path.with_name("backup")
    copy.touch(0o600)
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(copy)) as to:
        source.backup(to)
    return copy


def put_in_its_place(copy: Path, path: Path) -> None:
    """As who restores a backup while others have the store open."""
    copy.replace(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def test_another_file_in_its_place(store: Store, path: Path) -> None:
    """Whoever runs goes on with what commands find there, and takes nothing of it away."""
    store.allow(ANN, "ann", GRANT)
    copy = back_up(path)
    store.allow(BOB, "bob", GRANT)
    store.changes()
    put_in_its_place(copy, path)
    with Store(path) as command:
        assert command.revoke("ann") is not None
        assert store.changes() is None
        assert store.keys() == set()
        command.allow(EVE, "eve", GRANT)
        assert store.changes() == {EVE}
        store.add_usage(EVE, 7)
    with Store(path) as other:
        eve = other.find(EVE)
        assert eve is not None and eve.used == 7
        assert other.find(BOB) is None


COMMAND = """
import sys
from pathlib import Path
from nconnect.errors import HostError
from nconnect.permission.grants import Grant
from nconnect.permission.store import Store
try:
    with Store(Path(sys.argv[1])) as store:
        store.allow(bytes([255]) * 32, "late", Grant())
except HostError as error:
    print(error)
"""


def run_command(path: Path) -> str:
    """What `allow` in a process of its own says."""
    command = [sys.executable, "-c", COMMAND, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "order",
    [
        "remove look commit",
        "look remove look commit",
        "commit remove look",
        "command remove command look command",
        "look command remove command look",
        "look stop start commit",
        "stop start command",
        "look stop command start remove commit look command",
        "look stop start remove look command commit",
        "look stop start command remove command look command",
    ],
)
def test_in_whatever_order_it_is_replaced_nothing_is_damaged(path: Path, order: str) -> None:
    """SQLite finds its journal by name: that of the old file must not be written into the new one.

    The look is the gateway's, four times a second; a commit is of it as well.
    """
    store = Store(path)
    old, new = ([bytes([first, number]) + bytes(30) for number in range(200)] for first in (1, 2))
    for key in new:
        store.allow(key, "", Grant())
    store.changes()
    copy = back_up(path)
    with Store(path) as command:
        for key in new:
            command.revoke(key)
        for key in old:
            command.allow(key, "", Grant())
    copy.replace(path)
    late = False
    for step in order.split():
        match step:
            case "look":
                with contextlib.suppress(HostError):
                    store.changes()
            case "commit":
                with contextlib.suppress(HostError):
                    store.add_usage(new[0], 1)
            case "command":
                late = not run_command(path)
            case "remove":
                for suffix in ("-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
            case "stop":
                store.close()
            case "start":
                store = Store(path)
    store.changes()
    assert late == ("command" in order)
    assert set(new) <= store.keys()
    assert not set(old) & store.keys()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()


def test_the_journal_of_another_file_is_refused(store: Store, path: Path) -> None:
    store.allow(ANN, "ann", GRANT)
    back_up(path).replace(path)
    wal, shm = (f"{path}-{suffix}" for suffix in ("wal", "shm"))
    what = f"another file is at {path}, but {wal} is of the one before; run: rm {wal} {shm}"
    assert run_command(path) == what + "\n"
    with pytest.raises(HostError) as caught:
        store.changes()
    assert str(caught.value) == what
    with pytest.raises(HostError, match="was removed or replaced just now"):
        store.allow(BOB, "bob", GRANT)


def test_a_journal_that_is_removed_while_it_is_used(store: Store, path: Path) -> None:
    """What commands write into another one then is what holds."""
    store.allow(ANN, "ann", GRANT)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    assert run_command(path) == ""
    with pytest.raises(HostError, match="-wal, was removed"):
        store.allow(BOB, "bob", GRANT)
    assert store.changes() is None
    assert store.keys() - {ANN} == {bytes([255]) * 32}
    store.allow(BOB, "bob", GRANT)
    with Store(path) as other:
        assert other.keys() - {ANN} == {BOB, bytes([255]) * 32}


def test_a_backup_that_is_restored_into_it(store: Store, path: Path) -> None:
    """With `.restore` it is the same file, whose list of changes is shorter than what was told of it."""
    store.allow(ANN, "ann", GRANT)
    copy = back_up(path)
    store.allow(BOB, "bob", GRANT)
    store.changes()
    with contextlib.closing(sqlite3.connect(copy)) as source, contextlib.closing(sqlite3.connect(path)) as to:
        source.backup(to)
    with Store(path) as command:
        command.revoke(ANN)
    assert store.changes() is None
    assert store.keys() == set()
    assert store.changes() == set()


def test_one_that_is_gone_is_told_and_comes_back(store: Store, path: Path) -> None:
    store.allow(ANN, "ann", GRANT)
    store.changes()
    copy = back_up(path)
    path.unlink()
    with pytest.raises(HostError, match=f"cannot use {path}: No such file"):
        store.changes()
    assert not path.exists()
    put_in_its_place(copy, path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        store.changes()
    path.chmod(0o600)
    assert store.changes() is None
    assert store.keys() == {ANN}


def test_one_that_others_may_read_is_refused(path: Path) -> None:
    Store(path).close()
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others may read it; run: chmod 600"):
        Store(path)


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be one" * 100, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_what_is_no_store(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises((ConfigError, HostError), match=str(path)):
        Store(path)
    assert path.read_bytes() == content


def test_one_of_an_earlier_layout_is_brought_up_to_date(path: Path) -> None:
    with Store(path) as store:
        store.allow(ANN, "ann", GRANT)
    with sqlite3.connect(path) as database:
        for name in ("added", "changed", "forgotten"):
            database.execute(f"DROP TRIGGER {name}")
        for name in ("changes", "invites", "redeemed", "clock"):
            database.execute(f"DROP TABLE {name}")
        database.execute("PRAGMA user_version = 1")
    database.close()
    with Store(path) as store:
        assert [user.grant for user in store.users()] == [GRANT]
        store.changes()
        store.revoke(ANN)
        assert store.changes() == {ANN}


def test_one_of_another_version(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="of another version"):
        Store(path)


def test_a_row_that_somebody_broke(store: Store, path: Path) -> None:
    store.allow(ANN, "", GRANT)
    with sqlite3.connect(path) as database:
        database.execute("""UPDATE users SET targets = '["everything"]'""")
    database.close()
    with pytest.raises(ConfigError, match=ANN.hex()):
        store.find(ANN)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot use"):
        Store(tmp_path / "file" / "users.sqlite")


WRITER = """
import sys
from pathlib import Path
from nconnect.permission.grants import Grant
from nconnect.permission.store import Store
path, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in range(first, first + count):
    with Store(path) as store:
        store.allow(number.to_bytes(32, "big"), f"user-{number}", Grant(rate=number + 1))
    print(number, flush=True)
"""


def writer(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_commands_at_once_lose_nothing(store: Store, path: Path) -> None:
    """Four processes allow while the gateway counts."""
    writers = [writer(path, 100 * number, 20) for number in range(4)]
    counted = 0
    while any(process.poll() is None for process in writers):
        store.add_usage(EVE, 1)
        counted += 1
        time.sleep(0.001)
    assert [process.returncode for process in writers] == [0] * 4
    assert {user.name for user in store.users()} == {
        f"user-{100 * number + each}" for number in range(4) for each in range(20)
    }
    eve = store.find(EVE)
    assert eve is not None and eve.used == counted
    for process in writers:
        process.communicate()


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_crash_in_the_middle_leaves_whole_changes(path: Path, after: int) -> None:
    """Killed at any moment: what it said is done is there, and nothing is half done."""
    process = writer(path, 0, 1000)
    assert process.stdout is not None
    done = [process.stdout.readline() for _ in range(after + 1)][1:]
    process.send_signal(signal.SIGKILL)
    done += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    with Store(path) as store:
        users = store.users()
        assert len(done) <= len(users) <= len(done) + 1
        assert [(user.name, user.grant.rate) for user in users] == [
            (f"user-{number}", number + 1) for number in range(len(users))
        ]
        store.allow(ANN, "ann", GRANT)


def test_a_change_among_ten_thousand_is_quick(store: Store, path: Path) -> None:
    with store.transaction():
        for number in range(MANY):
            store.allow(number.to_bytes(32, "big"), f"user-{number}", GRANT)
    seconds = []
    for number in range(10):
        begun = time.perf_counter()
        with Store(path) as command:
            command.allow(bytes([200 + number]) * 32, f"late-{number}", GRANT)
        with Store(path) as command:
            assert command.revoke(f"user-{number}") is not None
        seconds.append((time.perf_counter() - begun) / 2)
    assert statistics.median(seconds) < CHANGE_SECONDS
    assert len(store.keys()) == MANY


def test_only_root_gives_it_away(path: Path) -> None:
    """Root's commands and a gateway of another user share it: it belongs to its directory's owner."""
    if os.geteuid() != 0:
        Store(path).close()
        assert path.stat().st_uid == os.geteuid()
        return
    path.parent.mkdir()
    os.chown(path.parent, 12345, 12345)
    Store(path).close()
    assert path.stat().st_uid == 12345
