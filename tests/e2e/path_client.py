"""What the path to a host is like, seen from the user: `path_client.py COMMAND HOST …`; prints what it found.

trace HOST             who reports each hop, as traceroute does: UDP with a hop limit of 1, 2, …
closed HOST            what becomes of a datagram to a port where nobody listens
fits HOST SIZE         sends datagrams of SIZE bytes that must not be cut until one fits; the path's MTU
segments HOST          the largest segments that the two ends of a TCP connection may send
leave HOST             asks for an answer, and is gone when it comes
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address

# linux/in.h, linux/in6.h, linux/errqueue.h; Python has no names for these.
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU, IP_RECVERR = 10, 2, 14, 11
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 23, 24, 25
MSG_ERRQUEUE = 0x2000
EXTENDED_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err
TRACE_PORT = 33434
MAX_HOPS = 8
TRIES = 5
SECONDS = 2.0


def datagram_socket(host: str) -> socket.socket:
    """A connected one that hears of errors."""
    version = ip_address(host).version
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    level, option = (socket.IPPROTO_IP, IP_RECVERR) if version == 4 else (socket.IPPROTO_IPV6, IPV6_RECVERR)
    sock.setsockopt(level, option, 1)
    sock.settimeout(SECONDS)
    return sock


def reported(sock: socket.socket) -> tuple[str, int] | None:
    """Who reported an error about what was sent, and which; None if nobody does."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            _, control, _, _ = sock.recvmsg(1, 1024, MSG_ERRQUEUE)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        data = control[0][2]
        number = EXTENDED_ERROR.unpack_from(data)[0]
        # The reporter's sockaddr follows: its address is behind the port, in IPv6 behind the flow label too.
        reporter = data[EXTENDED_ERROR.size :]
        packed = reporter[4:8] if sock.family == socket.AF_INET else reporter[8:24]
        return str(ip_address(packed)), number
    return None


def trace(host: str) -> str:
    hops: list[str] = []
    for limit in range(1, MAX_HOPS + 1):
        for _ in range(TRIES):
            with datagram_socket(host) as sock:
                if sock.family == socket.AF_INET:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, limit)
                else:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, limit)
                sock.setblocking(False)
                sock.sendto(b"where am I", (host, TRACE_PORT + limit))
                if found := reported(sock):
                    break
        else:
            return " ".join([*hops, "?"])
        hops.append(found[0])
        if found[1] == errno.ECONNREFUSED:
            break
    return " ".join(hops)


def closed(host: str) -> str:
    for _ in range(TRIES):
        with datagram_socket(host) as sock:
            sock.connect((host, 9))
            try:
                sock.send(b"anybody?")
                sock.recv(100)
            except ConnectionRefusedError:
                return "refused"
            except TimeoutError:
                continue
    return "silence"


def fits(host: str, size: str) -> str:
    with datagram_socket(host) as sock:
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO)
        sock.connect((host, 7004))
        for _ in range(TRIES):
            try:
                sock.send(bytes(int(size)))
                sock.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                return str(mtu(sock))
            return f"{size} went through"
    return "silence"


def mtu(sock: socket.socket) -> int:
    if sock.family == socket.AF_INET:
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
    return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


def segments(host: str) -> str:
    with socket.create_connection((host, 7005), SECONDS * TRIES) as sock:
        theirs = sock.recv(100).decode()
        return f"{sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)} {theirs}"


def leave(host: str) -> str:
    with datagram_socket(host) as sock:
        sock.connect((host, 7006))
        sock.send(b"answer me")
    return "left"


COMMANDS: dict[str, Callable[..., str]] = {
    "trace": trace,
    "closed": closed,
    "fits": fits,
    "segments": segments,
    "leave": leave,
}

if __name__ == "__main__":
    print(COMMANDS[sys.argv[1]](*sys.argv[2:]))
