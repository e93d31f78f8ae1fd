"""What a router's kernel hands over of somebody else's traffic, which a network card put together (GRO).

::

    netns: nc0 of router and of user, whose other ends are the test

     lan                 router             the test                  user
    ┌───────────────┐   ┌──────────────┐   ┌───────────────────────┐   ┌──────────────────────┐
    │ TCP ── eth0   ├───┤ lan0 ── nc0  ├───┤ reads, splits, checks ├───┤ nc0 100.64.0.2 ─ TCP │
    │ 192.168.77.20 │   │ .1      GRO  │   │ and writes to nc0     │   └──────────────────────┘
    └───────────────┘   └──────────────┘   └───────────────────────┘
"""

from __future__ import annotations

import array
import fcntl
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nconnect.host.tun import Tun
from nconnect.packet import virtio
from nconnect.packet.segment import split

from ..host.namespaces import Netns, running, sh, veth

pytestmark = pytest.mark.netns

# linux/sockios.h, linux/ethtool.h
SIOCETHTOOL = 0x8946
ETHTOOL_SSG = 0x19
ETHTOOL_SGRO = 0x2C

ANSWER = 10 * 1448 + 90
"""Bytes: the last segment is a short one."""
ANSWERS = 20
LIMIT = 8162
"""Bytes that suit a path of some Mbit/s."""
SECONDS = 10.0
PORT = 5000

LAN = "ip address add 192.168.77.20/24 dev eth0; ip route add default via 192.168.77.1"
ROUTER = """
ip address add 192.168.77.1/24 dev lan0
ip address add 100.64.0.1/24 dev nc0
ip link set nc0 up
sysctl -qw net.ipv4.ip_forward=1
"""
USER = """
ip address add 100.64.0.2/24 dev nc0
ip link set nc0 up
ip route add default dev nc0
"""


def set_offload(interface: str, command: int, value: int) -> None:
    """What `ethtool -K` does."""
    words = array.array("I", [command, value])
    request = struct.pack("16sP16x", interface.encode(), words.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCETHTOOL, request)


@pytest.fixture
def ends() -> Iterator[tuple[Tun, Tun, socket.socket, socket.socket]]:
    """The router's device, the user's, a server in the LAN and a client at the user's."""
    with Netns() as lan, Netns() as router, Netns() as user:
        veth(lan, "eth0", router, "lan0")
        with lan.inside():
            sh(LAN)
            set_offload("eth0", ETHTOOL_SSG, 0)
            server = socket.create_server(("192.168.77.20", PORT))
        with router.inside():
            set_offload("lan0", ETHTOOL_SGRO, 1)
            at_router = Tun.open("nc0")
            sh(ROUTER)
        with user.inside():
            at_user = Tun.open("nc0")
            sh(USER)
            client = socket.socket()
        with at_router, at_user, server, client:
            server.settimeout(SECONDS)
            client.settimeout(SECONDS)
            yield at_router, at_user, server, client


def test_what_was_put_together_of_whole_packets_is_split(
    ends: tuple[Tun, Tun, socket.socket, socket.socket],
) -> None:
    """Such a packet's first segment is in what the kernel says are its headers (`hdr_len`)."""
    at_router, at_user, server, client = ends
    choice = random.Random(1)
    carried: list[tuple[virtio.Header, list[bytes]]] = []
    with running(carry(at_router, at_user, carried)):
        client.connect(("192.168.77.20", PORT))
        connection, _ = server.accept()
        # A short segment does not wait for the acknowledgement of those before it.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, client.makefile("rb") as answers:
            for _ in range(ANSWERS):
                answer = choice.randbytes(ANSWER)
                connection.sendall(answer)
                assert answers.read(ANSWER) == answer
    for _, pieces in carried:
        for piece in pieces:
            virtio.check(piece)
    assert at_user.dropped == 0
    shorter = [header for header, pieces in carried if size(pieces[-1]) < header.hdr_len]
    assert shorter, "no piece was shorter than the kernel's headers: the test has shown nothing"


def size(packet: bytes) -> int:
    return len(packet) - virtio.HEADER_SIZE


def carry(
    at_router: Tun, at_user: Tun, carried: list[tuple[virtio.Header, list[bytes]]]
) -> Callable[[threading.Event], None]:
    """Hand packets to the other side, the router's in pieces; `carried` gets each header and the pieces.

    What is printed is shown if the test fails.
    """
    began = time.monotonic()

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            select.select([at_router.fd, at_user.fd], [], [], 0.05)
            while packet := at_router.read():
                header, pieces = virtio.decode(packet), split(packet, LIMIT)
                print(f"{time.monotonic() - began:8.4f}  {header}: {list(map(size, pieces))}")
                carried.append((header, pieces))
                for piece in pieces:
                    assert at_user.write(piece)
            while packet := at_user.read():
                assert at_router.write(packet)

    return work
