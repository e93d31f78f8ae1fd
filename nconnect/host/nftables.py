"""Two questions to nf_tables without the nft program, which reads every rule before it answers any.

Sources: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator

from nconnect.host.nfnetlink import (
    DATAGRAM_SIZE,
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    request,
)
from nconnect.host.privileges import host_error

NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETTABLE = 1
NFT_MSG_NEWRULE = 6
NFT_MSG_GETRULE = 7
NFTA_TABLE_NAME = 1
NFTA_RULE_TABLE = 1
NFTA_RULE_CHAIN = 2
NFPROTO_INET = 1

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
