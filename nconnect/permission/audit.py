"""The audit: who was admitted, refused, invited, revoked, with what grant, when, and how many bytes went.

JSON lines in the state directory, for its owner only. Refusals have a file of their own: strangers cause them
as often as they like, and shall not push out what is written of users. Each file is bounded, with one older
one beside it. No packet, no secret, and nothing of an invite but its ID.

A line is one `write`, so several processes may append. It is not forced to the disk: a crash of the program
loses nothing, a power cut perhaps the last seconds. `audit_reader` has what the fields mean.

It is written by the standard library's JSON, which is loaded already: `allow` need not wait for more.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import fcntl
import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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

FACTS = ("name", "source", "invite", "reason", "addresses", "grant", "seconds", "bytes_in", "bytes_out")
"""What is written of the facts that `record` is told."""

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


class _Lines:
    """About one user, about nobody, or about all who were refused."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.omitted = 0


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
        """Append a line, with those `facts` that are `FACTS`; a Grant or Decision becomes what it says."""
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
    decision = facts.pop("decision", None)
    if isinstance(decision, Decision):
        facts |= {"grant": decision.grant, "source": decision.by}
    known = {name: facts[name] for name in FACTS if name in facts}
    entry = {
        "schema": SCHEMA,
        "time": now,
        "event": kind,
        "key": key.hex(),
        **known,
        "omitted": omitted or None,
    }
    text = json.dumps(_said(entry), ensure_ascii=False, separators=(",", ":"))
    # What a stranger said may be half of a surrogate pair: JSON has an escape for that, UTF-8 has not.
    return text.encode(errors="backslashreplace") + b"\n"


def _said(facts: Mapping[str, object]) -> dict[str, Any]:
    """What there is to say, without what is nothing."""
    return {name: _fact(value) for name, value in facts.items() if value not in (None, "", (), [])}


def _fact(value: object) -> object:
    if isinstance(value, Grant):
        grant = {
            "targets": tuple(map(format_target, value.targets)),
            "expires": value.expires,
            "rate": value.rate or None,
            "quota": value.quota or None,
            "served": value.served or not value.targets or None,
        }
        return _said(grant)
    return value[:MAX_TEXT] if isinstance(value, str) else value


def _rotate(path: Path, descriptor: int) -> bool:
    """Make `path`, open as `descriptor`, the older file; False if another process does so just now."""
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(path.stat(), os.fstat(descriptor)):
            path.replace(path.with_name(path.name + OLDER))
            return True
    return False
