"""The kernel's connection tracking: which connections an address has begun, and how to change them.

Sources: linux/netfilter/nfnetlink_conntrack.h and nf_conntrack_tcp.h; net/netfilter/nf_conntrack_netlink.c.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from nconnect.host.nfnetlink import (
    DATAGRAM_SIZE,
    FAMILY,
    NETLINK_NETFILTER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLMSG_DONE,
    NLMSG_ERROR,
    attribute,
    error_number,
    messages,
    nested,
    parse,
    request,
)
from nconnect.host.privileges import host_error

Address = IPv4Address | IPv6Address

NFNL_SUBSYS_CTNETLINK = 1
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE = range(3)
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_PROTOINFO, CTA_FILTER = 1, 2, 4, 25
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_SOURCE, CTA_IP_DESTINATION = {4: 1, 6: 3}, {4: 2, 6: 4}
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_PROTOINFO_TCP = 1
CTA_PROTOINFO_TCP_STATE, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY = 1, 4, 5
IP_CT_TCP_FLAG_BE_LIBERAL = 0x08
CTA_FILTER_ORIG_FLAGS = 1
CTA_FILTER_FLAG_IP_SRC = 1

NFPROTO = {4: 2, 6: 10}
# enum tcp_conntrack, from SYN_RECV to LAST_ACK: both ends know of the connection, and one still has it.
LIVE_STATES = range(2, 7)

FLAGS = struct.Struct("=I")
# struct nf_ct_tcp_flags: flags, mask.
BE_LIBERAL = bytes([IP_CT_TCP_FLAG_BE_LIBERAL] * 2)
PORT = struct.Struct("!H")
ANSWER_TIMEOUT = 5.0
"""Seconds for the kernel to say more; it takes milliseconds for a million connections."""


@dataclass(frozen=True)
class Connection:
    """A connection as who began it sees it: before any translation."""

    source: Address
    destination: Address
    server: Address
    """Who answers: not `destination` where that is translated."""
    protocol: int
    source_port: int
    """0 where the protocol has none, as is `destination_port`."""
    destination_port: int
    live: bool
    """Whether it is a TCP connection that an end still has."""
    key: bytes
    """How the kernel knows it again."""


def connections_of(addresses: Iterable[Address]) -> list[Connection]:
    """The connections that these addresses have begun.

    Raises:
        HostError, PrivilegeError: the kernel does not tell.
    """
    wanted = frozenset(addresses)
    found = list[Connection]()
    with _open() as sock:
        for version in NFPROTO:
            if of_version := [address for address in wanted if address.version == version]:
                found += (one for one in _dump(sock, version, of_version) if one.source in wanted)
    return found


def forget(connections: Iterable[Connection]) -> None:
    """Have the kernel forget these connections, and with each its translation. One that is gone is no error.

    Raises:
        HostError, PrivilegeError: it does not.
    """
    _change(IPCTNL_MSG_CT_DELETE, connections)


def trust_numbers(connections: Iterable[Connection]) -> None:
    """Have the kernel take packets of the live ones of these for theirs whatever their sequence numbers.

    What it did not see of a TCP connection, because nobody asked it to track for a while, it holds against it
    when it goes on: what answers a packet that it missed is invalid to it, for ever (nf_conntrack_core.c,
    nf_ct_tcp_fixup; nf_conntrack_proto_tcp.c, tcp_in_window). Connections that it finds in the middle it
    trusts like this by itself. One that is gone is no error.

    Raises:
        HostError, PrivilegeError: it does not.
    """
    flags = b"".join(
        attribute(kind, BE_LIBERAL)
        for kind in (CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY)
    )
    info = nested(CTA_PROTOINFO, nested(CTA_PROTOINFO_TCP, flags))
    _change(IPCTNL_MSG_CT_NEW, (one for one in connections if one.live), info)


def _change(kind: int, connections: Iterable[Connection], more: bytes = b"") -> None:
    with _open() as sock:
        for one in connections:
            body = nested(CTA_TUPLE_ORIG, one.key) + more
            _request(sock, kind, NLM_F_ACK, one.source.version, body)
            for _ in _answers(sock, ignore=errno.ENOENT):
                pass


def _open() -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError as error:
        raise host_error(error, "ask for tracked connections") from error
    sock.settimeout(ANSWER_TIMEOUT)
    return sock


def _dump(sock: socket.socket, version: int, addresses: Sequence[Address]) -> Iterator[Connection]:
    """Those of these addresses, which are all of this version, and maybe others."""
    only = addresses[0].packed if len(addresses) == 1 else b""
    body = b""
    # Of IPv6 addresses the kernel finds all but the one it is asked for (ctnetlink_filter_match_tuple), and
    # kernels before 5.8 do not filter.
    if only and version == 4:
        body = nested(CTA_TUPLE_ORIG, nested(CTA_TUPLE_IP, attribute(CTA_IP_SOURCE[version], only)))
        body += nested(CTA_FILTER, attribute(CTA_FILTER_ORIG_FLAGS, FLAGS.pack(CTA_FILTER_FLAG_IP_SRC)))
    _request(sock, IPCTNL_MSG_CT_GET, NLM_F_DUMP, version, body)
    for message in _answers(sock):
        if only not in message:
            continue
        connection = _connection(message[FAMILY.size :], version)
        if connection is not None:
            yield connection


def _request(sock: socket.socket, kind: int, flags: int, version: int, body: bytes) -> None:
    try:
        sock.send(request(NFNL_SUBSYS_CTNETLINK, kind, flags, NFPROTO[version], body))
    except OSError as error:
        raise host_error(error, "ask for tracked connections") from error


def _answers(sock: socket.socket, ignore: int = 0) -> Iterator[bytes]:
    """The messages of one answer; HostError for an error other than `ignore`."""
    while True:
        try:
            data = sock.recv(DATAGRAM_SIZE)
        except OSError as error:
            raise host_error(error, "hear of tracked connections") from error
        for kind, body in messages(data):
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                number = error_number(body)
                if number not in (0, ignore):
                    raise host_error(OSError(number, os.strerror(number)), "change tracked connections")
                return
            yield body


def _connection(data: bytes, version: int) -> Connection | None:
    attributes = parse(data)
    key = attributes.get(CTA_TUPLE_ORIG, b"")
    parts = parse(key)
    ip, proto = parse(parts.get(CTA_TUPLE_IP, b"")), parse(parts.get(CTA_TUPLE_PROTO, b""))
    source, destination = ip.get(CTA_IP_SOURCE[version]), ip.get(CTA_IP_DESTINATION[version])
    reply = parse(parse(attributes.get(CTA_TUPLE_REPLY, b"")).get(CTA_TUPLE_IP, b""))
    server = reply.get(CTA_IP_SOURCE[version])
    if source is None or destination is None or server is None or CTA_PROTO_NUM not in proto:
        return None
    tcp = parse(parse(attributes.get(CTA_PROTOINFO, b"")).get(CTA_PROTOINFO_TCP, b""))
    state = tcp.get(CTA_PROTOINFO_TCP_STATE, b"\0")[0]
    make = IPv4Address if version == 4 else IPv6Address
    return Connection(
        source=make(source),
        destination=make(destination),
        server=make(server),
        protocol=proto[CTA_PROTO_NUM][0],
        source_port=_port(proto, CTA_PROTO_SRC_PORT),
        destination_port=_port(proto, CTA_PROTO_DST_PORT),
        live=state in LIVE_STATES,
        key=key,
    )


def _port(proto: dict[int, bytes], kind: int) -> int:
    number: int = PORT.unpack(proto.get(kind, bytes(PORT.size)))[0]
    return number
