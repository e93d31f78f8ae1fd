"""The audit: who was admitted, refused, invited, revoked, with what grant, when, and how many bytes went.

JSON lines in the state directory, for its owner only. Refusals have a file of their own: strangers cause them
as often as they like, and shall not push out what is written of users. Each file is bounded, with one older
one beside it. No packet, no secret, and nothing of an invite but its ID.

A line is one `write`, so several processes may append. It is not forced to the disk: a crash of the program
loses nothing, a power cut perhaps the last seconds.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import heapq
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from nconnect.errors import HostError, PrivilegeError
from nconnect.permission.bucket import Bucket
from nconnect.permission.decision import Decision
from nconnect.permission.grants import Grant, format_target

DIRECTORY = "audit"
USERS = "users.jsonl"
REFUSED = "refused.jsonl"
OLDER = ".1"
SCHEMA = 1
MAX_FILE_BYTES = 8 << 20
"""A line has some 300 bytes: 28,000 comings and goings, and as many again in the older file."""
MAX_TEXT = 256
"""Characters of any text in a line; what strangers say is no longer than that."""

BURST = 60
SECONDS_A_LINE = 10.0
"""Lines about one user, about nobody, or about all who were refused: so many at once, and one in so many
seconds. Who connects in a loop takes days to fill a file, not minutes; the next line tells how many were left
out."""
MAX_COUNTED = 1024
"""Users whose lines are counted; one who is forgotten has a full burst again."""


class Event(enum.StrEnum):
    """What happened."""

    ADMITTED = "admitted"
    LEFT = "left"
    CUT = "cut"
    REFUSED = "refused"
    CHANGED = "changed"
    ALLOWED = "allowed"
    REVOKED = "revoked"
    INVITED = "invited"
    REDEEMED = "redeemed"
    CANCELLED = "cancelled"


class GrantEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grant as it was at that moment."""

    targets: tuple[str, ...] = ()
    """Empty: all that was served."""
    expires: float | None = None
    """Unix seconds."""
    rate: int = 0
    """Bits a second."""
    quota: int = 0
    """Bytes."""

    @classmethod
    def of(cls, grant: Grant) -> GrantEntry:
        """The grant in the words of a line."""
        return cls(tuple(map(format_target, grant.targets)), grant.expires, grant.rate, grant.quota)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: the stable interface of `nconnect log --json`."""

    schema: int
    time: float
    """Unix seconds."""
    event: str
    key: str = ""
    """The user's public key in hex."""
    name: str = ""
    """What the provider calls the user; of a stranger, what they call themselves."""
    source: str = ""
    """Who let them in: the policy file, a command, an invite by its ID."""
    invite: str = ""
    """The ID of the invite."""
    reason: str = ""
    addresses: tuple[str, ...] = ()
    """The user's, in the overlay."""
    grant: GrantEntry | None = None
    seconds: float | None = None
    """How long the user was connected."""
    bytes_in: int | None = None
    """From the user, as frames of the link."""
    bytes_out: int | None = None
    omitted: int = 0
    """Lines about this user, or about who was refused, that were left out before this one."""


@dataclass
class _Lines:
    """About one user, about nobody, or about all who were refused."""

    bucket: Bucket
    omitted: int = 0


class Audit:
    """Appends to the files in `directory`; what cannot be written costs a warning, and nothing else."""

    def __init__(
        self, directory: Path, warn: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._directory = directory
        self._warn = warn
        self._clock = clock
        self._warned = False
        self._cut_off = False
        """Whether the last line may be there in part only."""
        self._lines: OrderedDict[str, _Lines] = OrderedDict()

    def record(self, kind: str, key: bytes = b"", **facts: object) -> None:
        """Append a line, whose fields `facts` are as in `Entry`; a Grant or Decision becomes what it says."""
        now = self._clock()
        refused = kind == Event.REFUSED
        lines = self._lines_about(REFUSED if refused else key.hex(), now)
        if not lines.bucket.take(now):
            lines.omitted += 1
            return
        line = _line(round(now, 3), kind, key, lines.omitted, facts)
        try:
            self._append(self._directory / (REFUSED if refused else USERS), line)
        except OSError as error:
            self._cut_off = True
            if not self._warned:
                self._warn(
                    f"warning: the audit in {self._directory} cannot be written: {error.strerror}; "
                    "it goes on without"
                )
            self._warned = True
        else:
            lines.omitted = 0
            self._warned = self._cut_off = False

    def _lines_about(self, who: str, now: float) -> _Lines:
        lines = self._lines.pop(who, None) or _Lines(Bucket(BURST, 1 / SECONDS_A_LINE, now))
        self._lines[who] = lines
        if len(self._lines) > MAX_COUNTED:
            self._lines.popitem(last=False)
        return lines

    def _append(self, path: Path, line: bytes) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = _open(path)
        try:
            if os.fstat(descriptor).st_size + len(line) > MAX_FILE_BYTES and _rotate(path, descriptor):
                os.close(descriptor)
                descriptor = _open(path)
            data = b"\n" + line if self._cut_off else line
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _line(now: float, kind: str, key: bytes, omitted: int, facts: dict[str, object]) -> bytes:
    decision = facts.get("decision")
    if isinstance(decision, Decision):
        facts |= {"grant": decision.grant, "source": decision.by}
    known = {name: _fact(value) for name, value in facts.items() if name in Entry.__struct_fields__}
    entry = {"schema": SCHEMA, "time": now, "event": kind, "key": key.hex(), "omitted": omitted, **known}
    return msgspec.json.encode(msgspec.convert(entry, Entry)) + b"\n"


def _fact(value: object) -> object:
    if isinstance(value, Grant):
        return GrantEntry.of(value)
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _rotate(path: Path, descriptor: int) -> bool:
    """Make `path`, open as `descriptor`, the older file; False if another process does so just now."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            path.replace(path.with_name(path.name + OLDER))
            return True
    return False


# Reading


class Reader:
    """What is written, the oldest first; lines that are none are left out. `close` it."""

    def __init__(self, directory: Path) -> None:
        self._tails = [_Tail(directory / name) for name in (USERS, REFUSED)]

    def entries(self) -> Iterator[Entry]:
        """All there is; called again, all that has come since.

        Raises:
            PrivilegeError: the files are another user's; HostError: they cannot be read.
        """
        return heapq.merge(*(tail.entries() for tail in self._tails), key=lambda entry: entry.time)

    def close(self) -> None:
        """Let go of the files."""
        for tail in self._tails:
            tail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Tail:
    """A file that grows, and now and then makes place for a new one of its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def entries(self) -> Iterator[Entry]:
        try:
            if self._file is None:
                self._open(self._path.with_name(self._path.name + OLDER))
            yield from self._rest()
            while self._has_successor():
                self.close()
                self._open(self._path)
                yield from self._rest()
        except PermissionError as error:
            raise PrivilegeError(f"may not read {self._path}; run it as root (sudo nconnect …)") from error
        except OSError as error:
            raise HostError(f"cannot read {self._path}: {error.strerror or error}") from error

    def _open(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._file = path.open("rb")

    def _rest(self) -> Iterator[Entry]:
        while self._file is not None and (line := self._file.readline()):
            if not line.endswith(b"\n"):
                self._file.seek(-len(line), os.SEEK_CUR)  # its writer has not come to the end
                return
            entry = decode(line)
            if entry is not None:
                yield entry

    def _has_successor(self) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(status, os.fstat(self._file.fileno()))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def decode(line: bytes) -> Entry | None:
    """The entry in a line; None if there is none, as where a full disk cut it off."""
    try:
        return msgspec.json.decode(line, type=Entry)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
