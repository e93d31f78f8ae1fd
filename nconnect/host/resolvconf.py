"""/etc/resolv.conf with a resolver of ours before the others, for machines without systemd-resolved.

::

    # nconnect office: with the next line until nconnect down office or nconnect cleanup
    nameserver 127.78.67.9
    <what stood there before>

Two lines are added and taken out again, whatever became of the rest: what others change meanwhile stays, and
several instances do not get into each other's way. The resolvers that were there come after ours, which
refuses what is not the tunnel's: a C library then asks the next one, as it does when our process has died.

A link, as resolvconf and network managers make one, gives way to a file with the contents of its target. The
file follows the target, and in the end the link comes back.
Sources: resolv.conf(5); glibc resolv/res_send.c (REFUSED: the next server; three servers count).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from nconnect.errors import HostError
from nconnect.host.privileges import host_error

PATH = Path("/etc/resolv.conf")
PORT = 53
"""The only one that such a file can mean."""
MAX_BYTES = 1 << 16
"""A resolv.conf has some lines; what is larger is something else."""
MODE = 0o644
NO_FILE = "no file"
"""In the place of a link's target: there was neither."""

_LINE_ENDS = re.compile(r"(?<=\n)")
_MARK = re.compile(r"# nconnect ([\w-]+): .*\n")
_SERVER = re.compile(r"nameserver (\S+)\n")
_PLACE = re.compile(r"# nconnect: in place of (.+)\n")
_CANNOT_REPLACE = (errno.EBUSY, errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM)
"""A file that is a mount of its own, as containers have it, can be written and not be replaced."""


@dataclass(frozen=True)
class Contents:
    """A resolv.conf, ours and not."""

    blocks: tuple[tuple[str, str], ...] = ()
    """Instances and the addresses of their resolvers, in the order of the file."""
    place: str = ""
    """The target of the link that was there, or `NO_FILE`; empty: a file was."""
    rest: str = ""
    """What is others'."""

    def __str__(self) -> str:
        lines = [
            f"# nconnect {instance}: with the next line until nconnect down {instance} or nconnect cleanup\n"
            f"nameserver {address}\n"
            for instance, address in self.blocks
        ]
        if self.place:
            lines.append(f"# nconnect: in place of {self.place}\n")
        return "".join(lines) + self.rest

    def with_block(self, instance: str, address: str) -> Contents:
        """The instance's resolver first, or where it was."""
        if (instance, address) in self.blocks:
            return self
        return replace(self, blocks=((instance, address), *self.without_block(instance).blocks))

    def without_block(self, instance: str) -> Contents:
        """None of the instance's."""
        return replace(self, blocks=tuple(one for one in self.blocks if one[0] != instance))


def parse(text: str) -> Contents:
    """What a file says; any text is a resolv.conf."""
    blocks: list[tuple[str, str]] = []
    place = ""
    rest: list[str] = []
    for line in _LINE_ENDS.split(text):
        if of := _PLACE.fullmatch(line):
            place = place or of[1]
        elif rest and (server := _SERVER.fullmatch(line)) and (mark := _MARK.fullmatch(rest[-1])):
            rest.pop()
            blocks.append((mark[1], server[1]))
        else:
            rest.append(line)
    return Contents(tuple(blocks), place, "".join(rest))


def insert(instance: str, address: str) -> bool:
    """See that programs ask the resolver at `address` first; False if somebody has seen to that already.

    Raises:
        HostError, PrivilegeError: the file cannot be read or written.
    """
    try:
        before, text = _load()
        wanted = before.with_block(instance, address)
        if wanted.place and wanted.place != NO_FILE:
            wanted = replace(wanted, rest=_read(PATH.parent / wanted.place))
        if str(wanted) != text:
            _write(str(wanted))
    except OSError as error:
        raise _error(error) from error
    return wanted.blocks != before.blocks


def remove(instance: str) -> bool:
    """Take the instance's resolver out again; False if it is not there any more.

    Raises:
        HostError, PrivilegeError: the file cannot be read or written.
    """
    try:
        before, _ = _load()
        wanted = before.without_block(instance)
        if wanted == before:
            return False
        if wanted.blocks or not wanted.place:
            _write(str(wanted))
        elif wanted.place != NO_FILE:
            _make_link(wanted.place)
        elif wanted.rest:
            _write(wanted.rest)
        else:
            PATH.unlink()
    except OSError as error:
        raise _error(error) from error
    return True


def resolvers_of_others(instance: str) -> list[str]:
    """The addresses of other instances' resolvers that stand there; none if the file cannot be read."""
    try:
        return [address for name, address in _load()[0].blocks if name != instance]
    except (OSError, HostError):
        return []


def check() -> Iterable[str]:
    """See that the file can be written, and what keeps our resolver from being asked.

    Raises:
        HostError, PrivilegeError: it cannot be written.
    """
    try:
        before, _ = _load()
        if not (os.access(PATH.parent, os.W_OK) or (PATH.is_file() and os.access(PATH, os.W_OK))):
            read_only = os.statvfs(PATH.parent).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if read_only else errno.EACCES, "")
    except OSError as error:
        raise _error(error) from error
    if re.search(r"^options\b.*\brotate\b", before.rest, re.MULTILINE):
        yield f"{PATH} has `options rotate`: others than the tunnel's resolver are asked for its names"


def _load() -> tuple[Contents, str | None]:
    """What the file says, and its text; None if it is a link or not there."""
    if PATH.is_symlink():
        return Contents(place=str(PATH.readlink()), rest=_read(PATH)), None
    if not PATH.exists():
        return Contents(place=NO_FILE), None
    text = _read(PATH)
    return parse(text), text


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ""  # a link to what is not there yet
    if len(data) > MAX_BYTES:
        raise HostError(f"{path} has more than {MAX_BYTES} bytes; is it a resolv.conf?")
    # Whatever stands there comes back as it was.
    return data.decode("utf-8", "surrogateescape")


def _write(text: str) -> None:
    data = text.encode("utf-8", "surrogateescape")
    try:
        _replace(data)
    except OSError as error:
        if error.errno not in _CANNOT_REPLACE or PATH.is_symlink() or not PATH.exists():
            raise
        with PATH.open("r+b") as file:
            file.write(data)
            file.truncate()


def _replace(data: bytes) -> None:
    """At each moment, power loss included, either the old file is there or the new one."""
    new = PATH.with_name(f".{PATH.name}.nconnect")
    before = None if PATH.is_symlink() or not PATH.exists() else PATH.stat()
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, stat.S_IMODE(before.st_mode) if before else MODE)
            os.fsync(fd)
        new.rename(PATH)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _make_link(target: str) -> None:
    new = PATH.with_name(f".{PATH.name}.nconnect")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.rename(PATH)


def _error(error: OSError) -> Exception:
    if error.errno == errno.EROFS:
        return HostError(f"cannot write {PATH}: it is on a read-only file system, or its service has it so")
    return host_error(error, f"write {PATH}")
