"""Who may change the host: CAP_NET_ADMIN; how a refusal of the kernel is told; and giving up all the rest.

Sources: capabilities(7), proc(5) (``CapEff`` in /proc/self/status), prctl(2), linux/capability.h,
linux/prctl.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from nconnect.errors import HostError, NconnectError, PrivilegeError

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
STATUS = Path("/proc/self/status")
THREADS = Path("/proc/self/task")

# linux/prctl.h.
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
# linux/capability.h: sets of 64 bits, each as two words.
LINUX_CAPABILITY_VERSION_3 = 0x20080522
WORD = 0xFFFFFFFF


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct; process 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """struct __user_cap_data_struct: one word of each set."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def has_net_admin(status: Path = STATUS) -> bool:
    """True if this process may change links, routes and rules in its network namespace."""
    return bool(capability_set("CapEff", status) >> CAP_NET_ADMIN & 1)


def require_net_admin(what: str, status: Path = STATUS) -> None:
    """Raise PrivilegeError unless this process has CAP_NET_ADMIN; `what` is the command, for the message."""
    if not has_net_admin(status):
        raise PrivilegeError(f"{what} changes this machine's network and needs root: run it with sudo")


def capability_set(name: str, status: Path = STATUS) -> int:
    """A set of capabilities (CapEff, CapPrm, CapBnd, CapInh, CapAmb), bit n for capability n."""
    for line in status.read_text().splitlines():
        field, _, value = line.partition(":")
        if field == name:
            return int(value, 16)
    return 0


def keep_only(*capabilities: int) -> None:
    """Give up every capability but these, for good, and what could bring them back; no core dumps any more.

    The user stays. A program that is started, such as nft, gets the same few. Other threads would keep what
    they have, so call it while there is none.

    Raises:
        HostError, PrivilegeError: the kernel refuses it, as one of a sandbox may.
    """
    assert len(list(THREADS.iterdir())) == 1, "other threads keep their capabilities"
    kept = _mask(capabilities) & capability_set("CapPrm")
    try:
        _bound(kept)
        if os.geteuid() == 0:
            # What root starts gets all that is in the bounding set.
            _set_capabilities(kept, inheritable=0)
        else:
            _set_capabilities(kept, inheritable=kept)
            for one in _bits(kept):
                _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, one)
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        # Keys are in memory: no core file, and no ptrace by other processes of the same user.
        _prctl(PR_SET_DUMPABLE, 0)
    except OSError as error:
        raise host_error(error, "give up capabilities") from error


def become(user: int, group: int, *capabilities: int) -> None:
    """Go on as another user, who gets these capabilities of ours; cannot be taken back.

    Raises:
        PrivilegeError: this process may not.
    """
    try:
        _bound(_mask(capabilities))  # now, while we have CAP_SETPCAP
        _prctl(PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    except OSError as error:
        raise host_error(error, f"act as user {user}") from error
    keep_only(*capabilities)


def host_error(error: OSError, what: str) -> NconnectError:
    """The error of our tree for `error`, met while doing `what` ("add route 10.0.0.0/8")."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.EPERM, errno.EACCES):
        return PrivilegeError(f"cannot {what}: {reason}; run it with sudo")
    return HostError(f"cannot {what}: {reason}")


def _bound(kept: int) -> None:
    """Take all but `kept` out of the bounding set: the most that a program started by us can have."""
    too_many = [one for one in _bits(capability_set("CapBnd")) if not kept >> one & 1]
    # Whoever may not drop these (no CAP_SETPCAP) cannot get them either: see PR_SET_NO_NEW_PRIVS.
    with contextlib.suppress(PermissionError):
        for one in too_many:
            _prctl(PR_CAPBSET_DROP, one)


def _set_capabilities(kept: int, inheritable: int) -> None:
    wanted = {"CapEff": kept, "CapPrm": kept, "CapInh": inheritable}
    if all(capability_set(name) == value for name, value in wanted.items()):
        return  # a service manager's work, who may also have taken the call away from us
    low = _Sets(kept & WORD, kept & WORD, inheritable & WORD)
    high = _Sets(kept >> 32, kept >> 32, inheritable >> 32)
    header = _Header(LINUX_CAPABILITY_VERSION_3, 0)
    _check(_libc().capset(ctypes.byref(header), (_Sets * 2)(low, high)))


def _mask(capabilities: Iterable[int]) -> int:
    return sum(1 << one for one in set(capabilities))


def _bits(mask: int) -> list[int]:
    return [one for one in range(mask.bit_length()) if mask >> one & 1]


def _prctl(option: int, *arguments: int) -> None:
    """prctl(2), which takes four arguments, unused ones zero; raises OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _check(_libc().prctl(option, *map(ctypes.c_ulong, padded)))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
