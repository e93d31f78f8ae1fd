"""Reading the audit: the entries of its files, the oldest first, also while they grow."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from nconnect.errors import HostError, PrivilegeError
from nconnect.permission.audit import OLDER, REFUSED, USERS


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
    served: bool = False
    """All that was served, as well as `targets`; not in lines of earlier versions."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line: the stable interface of `nconnect log --json`."""

    schema: int
    time: float
    """Unix seconds."""
    event: str
    key: str = ""
    """The user's public key in hex."""
    name: str = ""
    """What the provider calls the user; if it gave no name, in parentheses, what they call themselves. Of a
    stranger, who was refused, the latter as they said it."""
    source: str = ""
    """Who let them in: file and line of the policy, a command, an invite by its ID."""
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
