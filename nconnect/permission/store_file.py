"""The file of the store and SQLite's journal beside it: that they belong together, whoever moves files.

SQLite finds a journal by its name alone, and would write what it holds into whatever is at the file's name
by then, a backup for instance. So who uses a store holds a lock on both files, and a journal that is in use
while the file is not is that of another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from pathlib import Path

from nconnect.errors import HostError
from nconnect.permission.private import check_private

SHARED_LOCK = (0x40000002, 510)
"""Where, and on how many bytes, SQLite locks a file that it uses. Source: `os.h` of SQLite, SHARED_FIRST."""


def create(path: Path) -> int:
    """Make the file if there is none, for its directory's owner only; see that nobody else may read it.

    Returns a descriptor of it.

    Raises:
        ConfigError: others may; OSError: it cannot be had.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        status = os.fstat(descriptor)
        if os.geteuid() == 0 and status.st_size == 0:
            # The gateway may be another user than root, who types the commands.
            owner = path.parent.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        check_private(status.st_mode, path, "says who is let in")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def journal_of(path: Path) -> Path:
    """SQLite's journal: it is beside the file, and found by its name alone."""
    return path.with_name(f"{path.name}-wal")


def claim(file: int, path: Path) -> None:
    """Say that the file is used, as long as its descriptor is open. All who use a store say so of both files.

    Raises:
        HostError: the journal is used and the file is not: it is that of another file, which was at `path`
            before, and SQLite would write what it holds into this one.
    """
    wal, shm = journal_of(path), path.with_name(f"{path.name}-shm")
    with contextlib.suppress(BlockingIOError):
        # If nobody else uses it; and nobody begins to while we look.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not wal.exists():
            shm.unlink(missing_ok=True)  # the index of a journal that is not there
        elif _is_claimed(wal):
            raise HostError(f"another file is at {path}, but {wal} is of the one before; run: rm {wal} {shm}")
    fcntl.flock(file, fcntl.LOCK_SH)


def _is_claimed(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def open_claimed(path: Path) -> int:
    """A descriptor that says that the journal at `path` is used, as long as it is open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def keep_from_writing(file: int) -> None:
    """Have SQLite let go of this file without writing what its journal holds, as if others used the file."""
    start, length = SHARED_LOCK
    # struct flock: type and whence, two bytes each, four of padding, start and length, pid and padding.
    fields = ((fcntl.F_RDLCK, 2), (os.SEEK_SET, 2), (0, 4), (start, 8), (length, 8), (0, 8))
    lock = b"".join(value.to_bytes(size, sys.byteorder) for value, size in fields)
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
