"""Network namespaces for tests: made empty, entered by this thread, gone when closed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

CLONE_NEWNET = 0x40000000
SELF = "/proc/thread-self/ns/net"
SYSCTLS = ("net/ipv4/ip_forward", "net/ipv4/conf/*/*", "net/ipv6/conf/*/*")
# Random for each start, or counters: no state of ours.
VOLATILE = ("stable_secret",)

_libc = ctypes.CDLL(None, use_errno=True)


class Netns:
    """A network namespace with loopback up. `path` is for `ip link set … netns PATH`."""

    def __init__(self) -> None:
        home = os.open(SELF, os.O_RDONLY)
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self.fd = os.open(SELF, os.O_RDONLY)
            # New namespaces may take their IPv4 settings from the machine's.
            write_sysctl("net/ipv4/ip_forward", "0")
            write_sysctl("net/ipv4/conf/all/rp_filter", "0")
            write_sysctl("net/ipv4/conf/default/rp_filter", "0")
            # An address that is tentative for its first second makes one state look like another.
            write_sysctl("net/ipv6/conf/default/accept_dad", "0")
            sh("ip link set lo up")
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and the threads and processes that it starts, are in the namespace."""
        home = os.open(SELF, os.O_RDONLY)
        _check(_libc.setns(self.fd, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)

    def sh(self, script: str) -> str:
        with self.inside():
            return sh(script)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sh(script: str) -> str:
    """Run shell commands where this thread is; their output. The first that fails raises."""
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{script}: {done.stderr}"
    return done.stdout


def await_text(command: str, text: str) -> None:
    """Ask again until the kernel, which does some things a moment later, says `text`."""
    deadline = time.monotonic() + 5.0
    while text not in sh(command):
        assert time.monotonic() < deadline, f"{command} never said {text}"


def veth(left: Netns, left_name: str, right: Netns, right_name: str) -> None:
    left.sh(f"ip link add {left_name} type veth peer name {right_name} netns {right.path}")
    left.sh(f"ip link set {left_name} up")
    right.sh(f"ip link set {right_name} up")


def snapshot() -> str:
    """All that nconnect may change where this thread is, as text."""
    text = sh(
        "ip -d addr; ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule;"
        "nft -a list ruleset"
    )
    root = Path("/proc/sys")
    values = {str(path): read_text(path) for pattern in SYSCTLS for path in sorted(root.glob(pattern))}
    lines = [f"{name} = {value}" for name, value in values.items() if not name.endswith(VOLATILE)]
    return text + "\n".join(lines)


def read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        return os.strerror(error.errno or 0)


def write_sysctl(name: str, value: str) -> None:
    (Path("/proc/sys") / name).write_text(value)


@contextlib.contextmanager
def running(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """`work(stop)` on a thread of its own; its exception is ours."""
    stop, problems = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if problems:
        raise problems[0]


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: EFBIG, as a full disk gives ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
