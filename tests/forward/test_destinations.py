"""Where a provider connects to: what was granted, and nothing of its own unless it is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from nconnect.errors import RefusedError
from nconnect.forward import destinations as module
from nconnect.forward.destinations import Destinations
from nconnect.forward.socks5 import Reply, Target
from nconnect.host.grants import Target as Granted
from nconnect.host.networks import Router
from nconnect.permission.grants import parse_target
from nconnect.tunnel.control import IPAddress

from .program import target

LAN = tuple(map(parse_target, ("192.168.77.0/24", "fd77::/64", "127.0.0.0/8")))
EVERYTHING = tuple(map(parse_target, ("0.0.0.0/0", "::/0")))
OWN = ip_address("192.168.77.1")


class Kernel:
    """Has 192.168.77.1 itself, and a route to all else."""

    closed = False

    def leads_away(self, address: IPAddress) -> bool:
        return address != OWN

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def lan(kernel: Kernel) -> Iterator[Destinations]:
    destinations = Destinations(kernel)
    yield destinations
    destinations.close()
    assert kernel.closed


async def refused(
    destinations: Destinations, where: Target, granted: Iterable[Granted] = LAN, protocol: str = "tcp"
) -> int:
    with pytest.raises(RefusedError) as caught:
        await destinations.resolve(where, protocol, granted)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.code


@pytest.mark.parametrize("host", ["192.168.77.20", "fd77::20"])
async def test_the_lan_is_served(lan: Destinations, host: str) -> None:
    assert await lan.resolve(target(host, 80), "tcp", LAN) == [ip_address(host)]


@pytest.mark.parametrize(
    ("text", "protocol", "inside", "outside"),
    [
        ("192.168.77.20:80/tcp", "tcp", ("192.168.77.20", 80), ("192.168.77.20", 81)),
        ("192.168.77.20:80/tcp", "tcp", ("192.168.77.20", 80), ("192.168.77.21", 80)),
        ("192.168.77.20:8000-8010/udp", "udp", ("192.168.77.20", 8010), ("192.168.77.20", 8011)),
        ("192.168.77.0/24:53/udp", "udp", ("192.168.77.200", 53), ("192.168.77.200", 80)),
        ("[fd77::20]:80/tcp", "tcp", ("fd77::20", 80), ("fd77::21", 80)),
        ("192.168.77.20/tcp", "tcp", ("192.168.77.20", 9), ("192.168.78.20", 9)),
        ("10.9.9.9", "udp", ("10.9.9.9", 1), ("192.168.77.20", 1)),
    ],
)
async def test_what_is_granted_and_no_more(
    lan: Destinations, text: str, protocol: str, inside: tuple[str, int], outside: tuple[str, int]
) -> None:
    granted = [parse_target(text)]
    assert await lan.resolve(target(*inside), protocol, granted) == [ip_address(inside[0])]
    assert await refused(lan, target(*outside), granted, protocol) == Reply.NOT_ALLOWED
    if "/udp" in text or "/tcp" in text:
        other = "udp" if protocol == "tcp" else "tcp"
        assert await refused(lan, target(*inside), granted, other) == Reply.NOT_ALLOWED


@pytest.mark.parametrize("host", ["192.168.77.1", "127.0.0.1", "169.254.169.254", "::1", "fe80::1"])
async def test_what_is_never_part_of_a_network_may_be_named(lan: Destinations, host: str) -> None:
    named = [parse_target(f"[{host}]:80/tcp" if ":" in host else f"{host}:80/tcp")]
    assert await lan.resolve(target(host, 80), "tcp", named) == [ip_address(host)]
    assert await refused(lan, target(host, 81), [*named, *EVERYTHING]) == Reply.NOT_ALLOWED


@pytest.mark.parametrize(
    "host",
    [
        *("192.168.78.20", "8.8.8.8", "fd78::1", "2001:db8::1"),
        *("192.168.77.1", "::ffff:192.168.77.1"),
        *("127.0.0.1", "127.8.8.8", "::ffff:127.0.0.1", "::1"),
    ],
)
async def test_what_is_not_the_lan_is_refused(lan: Destinations, host: str) -> None:
    assert await refused(lan, target(host, 80)) == Reply.NOT_ALLOWED


@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.169.254", "224.0.0.1", "239.255.255.250"),
        *("240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "ff02::1"),
        *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
        *("fd00:ec2::1", "64:ff9b::169.254.169.254"),
        *("::ffff:169.254.169.254", "::ffff:127.0.0.1"),
    ],
)
async def test_what_is_never_served_even_if_all_is(kernel: Kernel, host: str) -> None:
    assert await refused(Destinations(kernel), target(host, 80), EVERYTHING) == Reply.NOT_ALLOWED


def names(monkeypatch: pytest.MonkeyPatch, **addresses: list[str]) -> None:
    def getaddrinfo(name: str, *rest: Any) -> list[Any]:
        if name not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in addresses[name]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


async def test_names(lan: Destinations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name's addresses, those of the LAN; a name for something else is not served."""
    names(
        monkeypatch,
        gpu=["10.0.0.1", "192.168.77.20", "127.0.0.1", "fd77::20"],
        rebound=["127.0.0.1", "169.254.169.254"],
        scoped=["fe80::1%eth0"],
    )
    found = await lan.resolve(Target("gpu", 80), "tcp", LAN)
    assert found == [ip_address("192.168.77.20"), ip_address("fd77::20")]
    assert await refused(lan, Target("rebound", 80)) == Reply.NOT_ALLOWED
    assert await refused(lan, Target("scoped", 80)) == Reply.NOT_ALLOWED
    assert await refused(lan, Target("nobody", 80)) == Reply.HOST_UNREACHABLE


async def test_a_name_that_takes_too_long(lan: Destinations, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = asyncio.Event()
    loop = asyncio.get_running_loop()

    def getaddrinfo(*arguments: Any) -> list[Any]:
        asyncio.run_coroutine_threadsafe(answer.wait(), loop).result()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(module, "RESOLVE_TIMEOUT", 0.05)
    assert await refused(lan, Target("slow", 80)) == Reply.HOST_UNREACHABLE
    answer.set()


async def test_the_first_address_that_answers(lan: Destinations) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    addresses = [ip_address("127.0.0.2"), ip_address("127.0.0.1")]
    reader, writer = await lan.connect(addresses, port)
    assert await reader.read() == b""
    writer.close()
    server.close()
    with pytest.raises(RefusedError) as caught:
        await lan.connect([ip_address("127.0.0.2")], port)
    assert caught.value.code == Reply.CONNECTION_REFUSED


async def test_a_host_that_does_not_answer(lan: Destinations, monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_connection(*arguments: Any, **options: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", open_connection)
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.05)
    with pytest.raises(RefusedError) as caught:
        await lan.connect([ip_address("192.168.77.20")], 80)
    assert caught.value.code == Reply.HOST_UNREACHABLE


def test_what_the_kernel_says_of_this_machine_s_own_addresses() -> None:
    router = Router()
    try:
        for own in ("127.0.0.1", "127.1.2.3", "::1"):
            assert not router.leads_away(ip_address(own))
        assert not router.leads_away(ip_address("255.255.255.255"))
    finally:
        router.close()
