"""The journal: what an instance is about to change, on disk before the kernel knows.

One file an instance, JSON lines: first a header, then the changes in the order they are made. Each append is
one write and one fsync. The living instance holds a lock (flock) on its file, which the kernel lets go when
the process dies, however it dies: a journal that can be locked belongs to nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from nconnect.errors import AlreadyRunningError, HostError
from nconnect.host.changes import AnyChange
from nconnect.host.privileges import host_error
from nconnect.places import JOURNAL_SUFFIX

NEW_SUFFIX = f"{JOURNAL_SUFFIX}.new"
VERSION = 1
# include/uapi/asm-generic/socket.h, Linux 5.14.
SO_NETNS_COOKIE = 71


class Header(msgspec.Struct, frozen=True, tag_field="change", tag="header", omit_defaults=True):
    """Who wrote the journal, and where its changes are."""

    version: int
    instance: str
    pid: int
    boot: str
    netns: str
    init: str = ""
    """When the first process started, which in a container is newer than the machine's; empty if unknown."""

    def is_of_here(self) -> bool:
        """Whether the changes were made in this run of the machine, and in this network namespace."""
        return (self.boot, self.netns) == (boot_id(), netns_id())


@dataclass(frozen=True)
class Contents:
    """What a journal says; `damaged` counts lines that say nothing, other than a torn last one."""

    header: Header | None = None
    changes: tuple[AnyChange, ...] = ()
    damaged: int = 0


_decoder: msgspec.json.Decoder[Header | AnyChange] = msgspec.json.Decoder(Header | AnyChange)
_encoder = msgspec.json.Encoder()


def parse(data: bytes) -> Contents:
    """Read a journal of any state of repair; never raises.

    The last line counts only with its newline: without, the crash came before the change was made.
    """
    *lines, _torn = data.split(b"\n")
    header, changes, damaged = None, [], 0
    for line in lines:
        try:
            record = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            damaged += 1
            continue
        if not isinstance(record, Header):
            changes.append(record)
        elif header is None:
            header = record
    return Contents(header, tuple(changes), damaged)


def encode(records: Iterable[Header | AnyChange]) -> bytes:
    return b"".join(_encoder.encode(record) + b"\n" for record in records)


class Journal:
    """One instance's journal, locked as long as this object is open."""

    def __init__(self, path: Path, fd: int, previous: Contents) -> None:
        self.path = path
        self.previous = previous
        """What stood there when it was locked: the changes of an instance that no longer lives."""
        self._fd = fd

    @property
    def instance(self) -> str:
        return self.path.name.removesuffix(JOURNAL_SUFFIX)

    @classmethod
    def lock(cls, path: Path) -> Self:
        """Lock the journal, made if it is not there. AlreadyRunningError if a living instance has it."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                if not _try_lock(fd):
                    os.close(fd)
                    name = path.name.removesuffix(JOURNAL_SUFFIX)
                    raise AlreadyRunningError(
                        f"instance {name} runs already: stop it (nconnect down), or choose another name"
                    )
                # Its last owner may have removed or replaced the file between our open and our lock.
                if _is_file(path, fd):
                    return cls(path, fd, parse(path.read_bytes()))
                os.close(fd)
        except OSError as error:
            raise host_error(error, f"open the journal {path}") from error

    def append(self, changes: Iterable[AnyChange]) -> None:
        """Write `changes` and wait for the disk; HostError if they are not safe, and must not be made."""
        data = encode(changes)
        if not data:
            return
        end = os.lseek(self._fd, 0, os.SEEK_END)
        try:
            _write_all(self._fd, data)
        except OSError as error:
            # Half a line in the middle of the file would hide the line after it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, end)
            raise self._error(error) from error

    def rewrite(self, changes: Iterable[AnyChange]) -> None:
        """Replace the journal's contents; at each moment the old or the new ones are on disk, and locked."""
        new = self.path.with_suffix(NEW_SUFFIX)
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _try_lock(fd)
                _write_all(fd, encode((this_process(self.instance), *changes)))
                new.rename(self.path)
            except OSError:
                os.close(fd)
                with contextlib.suppress(OSError):
                    new.unlink()
                raise
        except OSError as error:
            raise self._error(error) from error
        os.close(self._fd)
        self._fd = fd

    def remove(self) -> None:
        """Delete the file and let go of the lock."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.close()

    def close(self) -> None:
        """Let go of the lock; the file stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _error(self, error: OSError) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return HostError(
                f"no room for the journal {self.path}: nothing was changed; make room and try again"
            )
        return host_error(error, f"write the journal {self.path}")


def read(path: Path) -> Contents:
    """The contents of a journal that may belong to a living instance; empty if it is gone."""
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return Contents()
    except OSError as error:
        raise host_error(error, f"read the journal {path}") from error


def is_held(path: Path) -> bool:
    """Whether a living instance has the journal at `path`; ask while holding the directory's lock.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return not _try_lock(file.fileno())


@contextlib.contextmanager
def directory_lock(directory: Path) -> Iterator[None]:
    """Held while sysctls, which instances share, are compared with other journals and set."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise host_error(error, f"open {directory}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def this_process(instance: str) -> Header:
    return Header(VERSION, instance, os.getpid(), boot_id(), netns_id(), init_start())


def boot_id() -> str:
    """Changes whenever the machine starts, and takes all changes of ours with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def init_start() -> str:
    """When this machine's or container's first process started, in clock ticks since the kernel did.

    A container that starts again has the boot id of its host, unless somebody mounts another one over it.
    Empty where /proc hides the processes of others.
    """
    try:
        text = Path("/proc/1/stat").read_text()
    except OSError:
        return ""
    # Field 22 (proc_pid_stat(5)); the name in the second may have blanks and brackets.
    return text.rpartition(")")[2].split()[19]


def netns_id() -> str:
    """The network namespace of this thread; the cookie is never used twice, unlike the inode number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            cookie = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, ctypes.sizeof(ctypes.c_uint64))
        except OSError:
            return f"inode {Path('/proc/thread-self/ns/net').stat().st_ino}"
    return f"cookie {int.from_bytes(cookie, 'little')}"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file(path: Path, fd: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)
