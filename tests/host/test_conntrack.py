"""Tracked connections of a real kernel.

::

    netns: 127.0.0.1 and ::1 on lo, with a rule that makes the kernel track
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP

from nconnect.host.conntrack import Address, Connection, connections_of, forget, trust_numbers

from .namespaces import Netns, sh

pytestmark = pytest.mark.netns

HOSTS = ["127.0.0.1", "::1"]
TRACK = """\
nft 'add table inet test'
nft 'add chain inet test input { type filter hook input priority 0; }'
nft 'add rule inet test input ct state invalid drop'
"""


@pytest.fixture(autouse=True)
def tracking(netns: Netns) -> None:
    sh(TRACK)


@contextlib.contextmanager
def connected(host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((host, 0))
        listener.listen()
        client.connect(listener.getsockname()[:2])
        server, _ = listener.accept()
        with server:
            yield client, server


def begun_by(host: str) -> list[Connection]:
    return connections_of([ip_address(host)])


def address(host: str) -> Address:
    return ip_address(host)


@pytest.mark.parametrize("host", HOSTS)
def test_a_connection_is_found_by_who_began_it(host: str) -> None:
    with connected(host) as (client, server):
        (found,) = begun_by(host)
        assert (found.source, found.destination) == (address(host), address(host))
        assert found.source_port == client.getsockname()[1]
        assert found.destination_port == server.getsockname()[1]
        assert (found.protocol, found.live) == (socket.IPPROTO_TCP, True)
        assert begun_by("127.0.0.9" if host == "127.0.0.1" else "fd00::9") == []


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_over_or_no_connection_is_not_live(host: str) -> None:
    with connected(host) as (client, server):
        client.close()
        assert server.recv(1) == b""
        server.close()
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (host, 9))
        found = begun_by(host)
        assert {socket.IPPROTO_TCP, socket.IPPROTO_UDP} <= {one.protocol for one in found}
        assert not any(one.live for one in found)


def test_both_ends_that_wait_are_live() -> None:
    """One has said that it sends no more, and waits for the other."""
    with connected("127.0.0.1") as (client, _):
        client.shutdown(socket.SHUT_WR)
        assert [one.live for one in begun_by("127.0.0.1")] == [True]


def test_what_is_forgotten_is_gone_and_the_rest_is_not() -> None:
    with connected("127.0.0.1"), connected("127.0.0.1"), connected("::1"):
        first, second = begun_by("127.0.0.1")
        forget([first])
        assert [one.key for one in begun_by("127.0.0.1")] == [second.key]
        forget([first, second])
        assert begun_by("127.0.0.1") == []
        assert len(begun_by("::1")) == 1
        forget(connections_of(map(ip_address, HOSTS)))
        assert begun_by("::1") == []


def test_more_connections_than_one_answer_holds() -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(connected("::1"))
        assert len({one.key for one in begun_by("::1")}) == 300


# --- what the kernel did not see ---

ETH_P_IP = 0x0800
CHUNK = 64 << 10
UNSEEN_CHUNKS = 32
"""More than the window of a connection that has just begun."""


def is_tracked() -> bool:
    """Whether the kernel follows what begins now."""
    with connected("127.0.0.1") as (client, _):
        return client.getsockname()[1] in [one.source_port for one in begun_by("127.0.0.1")]


def sent_by(client: socket.socket) -> bytes:
    """An IP packet with a byte that the client sends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as sniffer:
        sniffer.bind(("lo", ETH_P_IP))
        client.send(b"x")
        while True:
            packet = IP(sniffer.recv(CHUNK))
            if packet[TCP].sport == client.getsockname()[1] and packet[TCP].payload:
                # Left to the network card, which there is none.
                del packet[TCP].chksum
                return bytes(packet)


def test_who_was_not_watched_may_go_on() -> None:
    """The first packet that the kernel sees is an old one once more, and it goes by the numbers of that."""
    with connected("127.0.0.1") as (client, server):
        old = sent_by(client)
        assert server.recv(1) == b"x"
        sh("nft delete table inet test")
        while is_tracked():
            time.sleep(0.01)  # the kernel takes its time
        for _ in range(UNSEEN_CHUNKS):
            client.sendall(bytes(CHUNK))
            assert len(server.recv(CHUNK, socket.MSG_WAITALL)) == CHUNK
        sh(TRACK)
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(old, ("127.0.0.1", 0))
        client.sendall(b"y")
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.recv(1)
        trust_numbers(begun_by("127.0.0.1"))
        server.settimeout(10)
        assert server.recv(1) == b"y"
