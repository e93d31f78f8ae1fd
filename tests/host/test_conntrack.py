"""Tracked connections of a real kernel.

::

    netns: 127.0.0.1 and ::1 on lo, with a rule that makes the kernel track
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from nconnect.host.conntrack import Address, Connection, connections_of, forget

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
