"""Of nf_tables what the nft program does not tell, or tells late: it reads every rule before it answers any.

Sources: linux/netfilter/nf_tables.h, linux/proc_ns.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from nconnect.host.nfnetlink import (
    DATAGRAM_SIZE,
    FAMILY,
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    parse,
    request,
)
from nconnect.host.privileges import host_error

NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETTABLE = 1
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFT_MSG_NEWGEN = 15
NFTA_GEN_PROC_PID = 2
NFTA_TABLE_NAME = 1
NFTA_RULE_TABLE = 1
NFTA_RULE_CHAIN = 2
NFPROTO_INET = 1
# NFNLGRP_NFTABLES, 7, as a bit.
NFTABLES_GROUP = 1 << 6
PID_NAMESPACE = Path("/proc/self/ns/pid")
# The inode of the namespace in which the kernel started.
PROC_PID_INIT_INO = 0xEFFFFFFC

WHAT = "look for our nftables table"


def table_exists(name: str) -> bool:
    """Whether there is a table of family inet and this name; some 100 µs, whatever it holds."""
    with _asked(NFT_MSG_GETTABLE, 0, (NFTA_TABLE_NAME, name)) as sock:
        kind, body = next(messages(sock.recv(DATAGRAM_SIZE)))
    if kind != NLMSG_ERROR:
        return True
    if error_number(body) == errno.ENOENT:
        return False
    raise _error(body)


def count_rules(table: str, chain: str) -> int:
    """How many rules a chain of that table has, 0 if there is no such chain; some 100 µs for a few dozen."""
    count = 0
    names = ((NFTA_RULE_TABLE, table), (NFTA_RULE_CHAIN, chain))
    with _asked(NFT_MSG_GETRULE, NLM_F_DUMP, *names) as sock:
        while True:
            for kind, body in messages(sock.recv(DATAGRAM_SIZE)):
                if kind == NLMSG_DONE:
                    return count
                if kind == NLMSG_ERROR:
                    raise _error(body)
                count += kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE


class Commits:
    """Hears of the transactions that the kernel commits from now on, by whomever; `with` closes it."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        # The kernel tells pids of its own, which are ours only where we share its namespace.
        if PID_NAMESPACE.stat().st_ino == PROC_PID_INIT_INO:
            with contextlib.suppress(OSError):  # and `wait` cannot tell
                self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
                self._socket.bind((0, NFTABLES_GROUP))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def wait(self, pid: int, output: int, timeout: float) -> bool:
        """Wait until a transaction of this process holds, or something can be read from the descriptor
        `output`, its end for instance, or so many seconds have passed.

        False: it may hold or not, as that was not told.
        """
        if self._socket is None:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(output, select.POLLIN)
        while self._socket.fileno() in (descriptor for descriptor, _ in poll.poll(timeout * 1000)):
            try:
                datagram = self._socket.recv(DATAGRAM_SIZE)
            except OSError:  # ENOBUFS: more was told than it holds
                return False
            if pid in _committed(datagram):
                return True
        return False


def _committed(datagram: bytes) -> Iterator[int]:
    """The processes of whose commits this tells."""
    for kind, body in messages(datagram):
        if kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN:
            yield int.from_bytes(parse(body[FAMILY.size :]).get(NFTA_GEN_PROC_PID, b""))


@contextlib.contextmanager
def _asked(kind: int, flags: int, *names: tuple[int, str]) -> Iterator[socket.socket]:
    """A socket with the answer to a question about what has these names, each with its attribute's type."""
    attributes = b"".join(attribute(number, name.encode() + b"\0") for number, name in names)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as sock:
            sock.send(request(NFNL_SUBSYS_NFTABLES, kind, flags, NFPROTO_INET, attributes))
            yield sock
    except OSError as error:
        raise host_error(error, WHAT) from error


def _error(body: bytes) -> Exception:
    number = error_number(body)
    return host_error(OSError(number, os.strerror(number)), WHAT)
