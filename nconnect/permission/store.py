"""Who was allowed or revoked by command, and how much each has used: one SQLite file, 0600.

SQLite because a change of one user among ten thousand shall cost a few milliseconds, must be whole or not at
all through a crash, and comes from several processes: the running gateway counts bytes while commands change
grants. Its locks and journal do that. The records of invites (`issued`) are in it as well.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

from nconnect.errors import ConfigError, HostError, NconnectError, UsageError
from nconnect.permission import store_file
from nconnect.permission.grants import MAX_TARGETS, Grant, format_target, parse_target
from nconnect.permission.keys import MAX_NAME, check_name

FILE_NAME = "users.sqlite"
LAYOUT = 3
"""`PRAGMA user_version`; a later one is of a later version of nconnect."""
MAX_USERS = 100_000
"""Keys in the file, revoked ones included: some 30 MB."""
MAX_USED = (1 << 63) - 1
"""SQLite's integers end there."""
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's change, which takes milliseconds."""
CLOSED = -1
CLOCK_TOLERANCE = 60.0
"""Seconds by which a clock may be set back without a word."""

MAX_CHANGES = 1024
"""Changes that are told one by one: more than commands make in the quarter of a second between two looks."""

_USERS = (
    """
CREATE TABLE users (
    key BLOB PRIMARY KEY,
    name TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '',
    targets TEXT NOT NULL DEFAULT '[]',
    expires REAL,
    rate INTEGER NOT NULL DEFAULT 0,
    quota INTEGER NOT NULL DEFAULT 0,
    since REAL NOT NULL DEFAULT 0,
    source TEXT NOT NULL DEFAULT '',
    used INTEGER NOT NULL DEFAULT 0,
    used_before INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
""",
    "CREATE UNIQUE INDEX names ON users (name) WHERE state = 'allowed' AND name != ''",
    "CREATE INDEX states ON users (state, since)",
    # count(*) takes milliseconds where there are many.
    "CREATE TABLE counts (users INTEGER NOT NULL)",
    "INSERT INTO counts VALUES (0)",
    "CREATE TRIGGER more AFTER INSERT ON users BEGIN UPDATE counts SET users = users + 1; END",
    "CREATE TRIGGER less AFTER DELETE ON users BEGIN UPDATE counts SET users = users - 1; END",
)
_CHANGES = (
    # Whoever holds thousands of users to their grants need not ask for each of them what it is now.
    "CREATE TABLE changes (serial INTEGER PRIMARY KEY, key BLOB NOT NULL)",
    *(
        f"CREATE TRIGGER {name} AFTER {event} BEGIN INSERT INTO changes (key) VALUES ({row}.key); "
        f"DELETE FROM changes WHERE serial <= last_insert_rowid() - {MAX_CHANGES}; END"
        for name, event, row in (
            ("added", "INSERT ON users WHEN new.state != ''", "new"),
            ("changed", "UPDATE OF state ON users", "new"),
            ("forgotten", "DELETE ON users", "old"),
        )
    ),
)
_INVITES = (
    # Whoever gave out invites before this layout has these tables.
    """
CREATE TABLE IF NOT EXISTS invites (
    nonce BLOB PRIMARY KEY,
    head BLOB NOT NULL,
    issued REAL NOT NULL,
    expires INTEGER NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS redeemed (
    nonce BLOB NOT NULL,
    key BLOB NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (nonce, key)
) WITHOUT ROWID
""",
)
_CLOCK = (
    "CREATE TABLE clock (seen REAL NOT NULL)",
    "INSERT INTO clock VALUES (0)",
)
_SCHEMA = (_USERS, _CHANGES, (*_INVITES, *_CLOCK))
"""What each layout adds to the one before."""
MIN_AGE = 0.001
"""Seconds between two grants of a key at least: usage is counted by when its grant began, and time may stand
still, see `Store.now`."""
_SELECT_CHANGES = "SELECT serial, key FROM changes"
_COLUMNS = "key, name, state, targets, expires, rate, quota, since, source, used, used_before"

ALLOWED, REVOKED = "allowed", "revoked"
BY_INVITE = "invite:"
"""Before the ID of the invite that a user came by."""

_NO_CHANGE = (0, b"")
"""Serial and key before the first change."""


class StoredUser(NamedTuple):
    """A key that was allowed, was revoked, or only used something."""

    key: bytes
    name: str
    state: str
    """`ALLOWED`, `REVOKED`, or empty: only its usage is known, others let it in."""
    grant: Grant
    since: float
    """When it was allowed or revoked, Unix seconds."""
    by: str
    """How: "allow", or "invite:ID"."""
    used: int
    """Bytes ever, both directions."""
    used_before: int
    """Of these, bytes from before `since`."""

    @property
    def allowed(self) -> bool:
        return self.state == ALLOWED

    @property
    def revoked(self) -> bool:
        return self.state == REVOKED

    @property
    def invite(self) -> str:
        """The ID of the invite that the grant came by; empty if `allow` gave it."""
        return self.by.removeprefix(BY_INVITE) if self.by.startswith(BY_INVITE) else ""

    @property
    def used_of_grant(self) -> int:
        """Bytes that count towards the grant's quota."""
        return self.used - self.used_before


class Store:
    """The file at `path`, made at the first use; `close` it."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError if it is no store, or others may read it; HostError if it cannot be had."""
        self.path = path
        self._told: tuple[int, bytes] | None = None
        """The last change that `changes` told of."""
        self._lost = ""
        """Why `changes` could not go on with the file; `find` does not answer from the old one then."""
        with contextlib.ExitStack() as opened, self._explained():
            file = store_file.create(path)
            opened.callback(os.close, file)
            store_file.claim(file, path)
            self._db = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
            opened.callback(self._db.close)
            self._prepare()
            wal = store_file.open_claimed(store_file.journal_of(path))
            opened.pop_all()
        self._file, self._log = file, wal
        """Which files they are, by descriptors: others may remove them, or put another in their place."""

    def _prepare(self) -> None:
        # Readers do not wait for writers then, and a commit is one write.
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA trusted_schema = OFF")
        with self._whole():
            (layout,) = self._db.execute("PRAGMA user_version").fetchone()
            if layout > LAYOUT:
                raise ConfigError(f"{self.path} is of another version of nconnect; upgrade, or move it away")
            if layout < LAYOUT:
                for statement in itertools.chain(*_SCHEMA[layout:], [f"PRAGMA user_version = {LAYOUT}"]):
                    self._db.execute(statement)

    def close(self) -> None:
        """Let go of the file."""
        if self._file == CLOSED:
            return
        with contextlib.suppress(OSError, NconnectError):
            if not self._is_there():
                self._empty_log()
            elif self._log_is_gone() and store_file.journal_of(self.path).exists():
                # Others write to a new one; what is in ours would be written over that.
                store_file.keep_from_writing(self._file)
        self._db.close()
        # Last: to close a file gives up all locks of this process on it, SQLite's too.
        os.close(self._log)
        os.close(self._file)
        self._file = CLOSED

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Looking

    def find(self, key: bytes) -> StoredUser | None:
        """What is known of this key.

        Raises:
            HostError: it cannot be read, or was gone when `changes` was asked last.
        """
        if self._lost:
            raise HostError(self._lost)
        return self._first("key = ?", key)

    def find_name(self, name: str) -> StoredUser | None:
        """The allowed user of that name."""
        # The last condition is that of the index.
        return self._first("state = 'allowed' AND name = ? AND name != ''", name)

    def users(self) -> list[StoredUser]:
        """All who were allowed, the first one first, those whose grant is used up included."""
        with self._explained():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM users WHERE state = 'allowed' ORDER BY since")
            return [_user(row) for row in rows]

    def keys(self) -> set[bytes]:
        """The keys that were allowed; some milliseconds for ten thousand."""
        with self._explained():
            return {key for (key,) in self._db.execute("SELECT key FROM users WHERE state = 'allowed'")}

    def invites_of(self, key: bytes) -> list[bytes]:
        """The nonces of the invites that have let this key in, of those in the records."""
        with self._explained():
            rows = self._db.execute("SELECT nonce FROM redeemed WHERE key = ? ORDER BY time", (key,))
            return [nonce for (nonce,) in rows]

    def latest_time(self) -> float:
        """The latest time that this machine's clock is known to have said, Unix seconds; 0 if none is."""
        with self._explained():
            (seen,) = self._db.execute("SELECT seen FROM clock").fetchone()
            return float(seen)

    def now(self) -> float:
        """Unix seconds by which grants and invites end: the clock's, or the latest that it has said before.

        A clock that was set back, as that of a board without a battery is at each boot, gives nothing back.
        """
        return max(time.time(), self.latest_time())

    def end_of(self, seconds: float) -> float:
        """When what begins now and lasts so long ends, by this machine's clock.

        Raises:
            HostError: the clock is behind. That time would be over by `now`; and one that is counted from
                there is years too late, if it was the later time that was wrong.
        """
        warning = clock_is_behind(self.now())
        if warning:
            raise HostError(f"nothing can be granted for a time: {warning}")
        return time.time() + seconds

    def changes(self) -> set[bytes] | None:
        """The keys that were allowed, revoked or forgotten since this was asked last, by any process.

        None: it may be anybody, as at the first call, where too many have, or where a backup was restored.
        Microseconds if there are none.

        Raises:
            HostError: it cannot be read, or is gone.
        """
        try:
            self._follow()
        except NconnectError as error:
            self._lost = str(error)
            raise
        self._lost = ""
        serial, key = self._told or _NO_CHANGE
        with self._explained():
            found = self._db.execute(_SELECT_CHANGES + " WHERE serial >= ?", (serial,)).fetchall()
            if serial:
                # The last one is there still, unless too many came after it, or the contents are others now.
                known = found[:1] == [(serial, key)]
            else:
                known = self._told is not None and (not found or found[0][0] == 1)
            if not known:
                found = self._db.execute(_SELECT_CHANGES + " ORDER BY serial DESC LIMIT 1").fetchall()
        self._told = found[-1] if found else _NO_CHANGE
        return {key for number, key in found if number > serial} if known else None

    def _follow(self) -> None:
        """Go on with the file that is at `path` now, if it is another one, such as a backup."""
        there = self._is_there()
        if there and not self._log_is_gone():
            return
        if there:
            # SQLite has one journal for all that a process opens of one file.
            self.close()
        elif self._file != CLOSED:
            self._empty_log()
        with self._explained():
            self.path.stat()  # as one would be made where there is none
        another = Store(self.path)
        self.close()
        self._db, self._file, self._log, self._told = another._db, another._file, another._log, None

    def _is_there(self) -> bool:
        """Whether our file is the one at `path`."""
        try:
            return self._file != CLOSED and os.path.samestat(self.path.stat(), os.fstat(self._file))
        except OSError:
            return False

    def _log_is_gone(self) -> bool:
        """Whether somebody removed the journal beside it, so that others have another one."""
        return not os.fstat(self._log).st_nlink

    def _empty_log(self) -> None:
        """Write what the journal holds into our file, which is elsewhere by now: whatever is put in its place
        would be taken for what the journal belongs to.
        """
        with self._explained():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # Changing

    def allow(
        self, key: bytes, name: str, grant: Grant, *, by: str = "allow", another_name: bool = False
    ) -> StoredUser:
        """Let `key` in, with this grant in place of what it had; its quota counts from now on.

        An empty `name` keeps the one it has. With `another_name` a name that somebody else has gets a part
        of the key after it.

        Raises:
            UsageError: somebody else has the name, or there are too many users.
        """
        if name:
            check_name(name)
        if len(grant.targets) > MAX_TARGETS:
            raise UsageError(f"{len(grant.targets)} targets for one user; {MAX_TARGETS} is the limit")
        targets = json.dumps([format_target(target) for target in grant.targets])
        with self._explained(), self._transaction():
            holder = self.find_name(name) if name else None
            if holder is not None and holder.key != key:
                if not another_name:
                    raise UsageError(
                        f"{name} is {holder.key.hex()} already; choose another --name, "
                        f"or first: nconnect revoke {name}"
                    )
                name = f"{name[: MAX_NAME - 17]}-{key.hex()[:16]}"
            self._make_room(key)
            self._db.execute(
                "INSERT INTO users (key, name, state, targets, expires, rate, quota, since, source) "
                "VALUES (?1, ?2, 'allowed', ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (key) DO UPDATE SET "
                "name = CASE WHEN ?2 = '' THEN name ELSE ?2 END, state = 'allowed', targets = ?3, "
                "expires = ?4, rate = ?5, quota = ?6, source = ?8, used_before = used, "
                # One that a clock gave which was ahead stays no longer than that.
                "since = CASE WHEN since > ?7 + ?10 THEN ?7 ELSE max(?7, since + ?9) END",
                (
                    *(key, name, targets, grant.expires, grant.rate, grant.quota, self._see(), by),
                    *(MIN_AGE, CLOCK_TOLERANCE),
                ),
            )
            user = self.find(key)
        assert user is not None
        return user

    def revoke(self, key_or_name: bytes | str) -> StoredUser | None:
        """Let a user in no longer, who is returned; None if nobody of that name, or this key, was allowed.

        A key stays known as revoked: neither `serve --allow` nor an invite lets it in again.
        """
        with self._explained(), self._transaction():
            if isinstance(key_or_name, str):
                user = self.find_name(key_or_name)
                if user is None:
                    return None
            else:
                user = self.find(key_or_name)
            key = user.key if user is not None else bytes(key_or_name)  # type: ignore[arg-type]
            self._make_room(key)
            self._db.execute(
                "INSERT INTO users (key, state, since) VALUES (?1, 'revoked', ?2) "
                "ON CONFLICT (key) DO UPDATE SET state = 'revoked', since = ?2",
                (key, self._see()),
            )
        return user if user is not None and user.allowed else None

    def add_usage(self, key: bytes, used: int) -> None:
        """Count bytes of this key, towards what it is granted now."""
        user = self.find(key)
        self.add_usages({key: {user.since if user is not None else 0.0: used}})

    def add_usages(self, used: Mapping[bytes, Mapping[float, int]]) -> None:
        """Count bytes of several keys, each by the `since` of the grant under which they were used.

        Where the key has another grant by now, they do not count towards it. What time it is is written with
        them. A power failure may forget the last ones.
        """
        with self._explained():
            # In WAL mode NORMAL means no fsync for each commit: this happens all the time, in the event loop.
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                with self._transaction():
                    self._see()
                    for key, sizes in used.items():
                        self._make_room(key)
                        for since, size in sizes.items():
                            self._db.execute(
                                "INSERT INTO users (key, used) VALUES (?1, ?2) "
                                "ON CONFLICT (key) DO UPDATE SET used = min(used + ?2, ?3), used_before = "
                                "CASE WHEN since = ?4 THEN used_before ELSE min(used_before + ?2, ?3) END",
                                (key, size, MAX_USED, since),
                            )
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def trust_clock(self) -> float:
        """Go by the clock from now on, whatever it has said before; what it says."""
        now = time.time()
        with self._explained(), self._transaction():
            self._db.execute("UPDATE clock SET seen = ?", (now,))
        return now

    def _see(self) -> float:
        """`now`, which is kept."""
        now = self.now()
        self._db.execute("UPDATE clock SET seen = ?", (now,))
        return now

    def _make_room(self, key: bytes) -> None:
        """For one more key: who is not allowed and was changed longest ago makes room."""
        (count,) = self._db.execute("SELECT users FROM counts").fetchone()
        if count < MAX_USERS or self.find(key) is not None:
            return
        gone = self._db.execute(
            "DELETE FROM users WHERE key = (SELECT key FROM users WHERE state != 'allowed' AND key != ? "
            "ORDER BY since LIMIT 1)",
            (key,),
        )
        if not gone.rowcount:
            raise UsageError(f"{MAX_USERS} users are allowed, which is the limit; revoke some first")

    def _first(self, condition: str, value: bytes | str) -> StoredUser | None:
        with self._explained():
            row = self._db.execute(f"SELECT {_COLUMNS} FROM users WHERE {condition}", (value,)).fetchone()
            return _user(row) if row is not None else None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For a look that may be of a moment ago; it waits for nobody."""
        with self._explained():
            yield self._db

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """What is done inside is done whole or not at all; nobody else changes anything meanwhile."""
        with self._explained(), self._transaction():
            yield self._db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:
            yield
            return
        if not self._is_there() or self._log_is_gone():
            raise HostError(f"cannot use {self.path}: it, or its -wal, was removed or replaced just now")
        with self._whole():
            yield

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        # IMMEDIATE: a transaction that reads first and then finds the file changed could not go on.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise HostError(f"cannot use {self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"{self.path} is not a list of users, or damaged ({error}); restore it or move it away"
            ) from error
        except OSError as error:
            raise HostError(f"cannot use {self.path}: {error.strerror or error}") from error


def clock_is_behind(now: float) -> str:
    """What to say of a clock that is behind `Store.now`; empty if it is not, or not by much."""
    behind = now - time.time()
    if behind < CLOCK_TOLERANCE:
        return ""
    said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now))
    by = timedelta(seconds=int(behind))
    return (
        f"this machine's clock is {by} behind what it has said before, {said}: what had ended by "
        "then stays ended, and nothing else ends until the clock is past that. Set it; or if it is right "
        "now, and was wrong then: nconnect users --trust-clock"
    )


def _user(row: tuple[Any, ...]) -> StoredUser:
    key, name, state, targets, expires, rate, quota, since, by, used, used_before = row
    try:
        grant = Grant(tuple(map(parse_target, _texts(targets))), expires, rate, quota)
    except (ValueError, RecursionError, UsageError) as error:
        raise ConfigError(f"the list of users has a wrong target for {key.hex()}: {error}") from error
    return StoredUser(key, name, state, grant, since, by, used, used_before)


def _texts(document: Any) -> list[str]:
    """The texts of a JSON array; ValueError if it is none."""
    texts = json.loads(document) if isinstance(document, str) else None
    if not (isinstance(texts, list) and all(isinstance(text, str) for text in texts)):
        raise ValueError("not a list of targets")
    return texts
