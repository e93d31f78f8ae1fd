"""Names are asked as programs ask, by UDP and TCP, with a resolver behind the provider that answers."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, cast

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.names import server
from nconnect.names.listening import Sockets, bind
from nconnect.names.server import Names, NameServer
from nconnect.names.zone import Zone

HOST = "127.0.0.1"
ZONE = Zone(
    peer="gpu-box",
    reachable=(ip_network("192.168.1.0/24"),),
    gateways=(ip_address("100.64.0.1"),),
    hosts={"gpu": (ip_address("192.168.1.20"), ip_address("fd00::20"))},
    domains=("lan",),
)
RECORDS = {
    "nas.lan.": ["nas.lan. 60 IN A 192.168.1.30"],
    "www.lan.": ["www.lan. 60 IN CNAME nas.lan.", "nas.lan. 60 IN A 192.168.1.30"],
    "evil.lan.": ["evil.lan. 60 IN A 127.0.0.1", "evil.lan. 60 IN A 10.0.0.1"],
    "bare.": ["bare. 60 IN A 192.168.1.40"],
    "empty.lan.": [],
    "many.lan.": [f"many.lan. 60 IN A 192.168.1.{number}" for number in range(1, 51)],
    # A provider that would be somebody else.
    "30.1.168.192.in-addr.arpa.": [
        "30.1.168.192.in-addr.arpa. 60 IN PTR nas.lan.",
        "30.1.168.192.in-addr.arpa. 60 IN PTR www.example.org.",
    ],
}


class Resolver(asyncio.DatagramProtocol):
    """The LAN's resolver: knows its records, and that nothing else is there."""

    records: ClassVar = RECORDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        records = self.records.get(query.question[0].name.to_text())
        if records is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        for record in records or ():
            name, ttl, kind, rdtype, value = record.split()
            if rdtype in ("CNAME", dns.rdatatype.to_text(query.question[0].rdtype)):
                reply.answer.append(dns.rrset.from_text(name, int(ttl), kind, rdtype, value))
        self.transport.sendto(reply.to_wire(), addr)


@pytest.fixture
async def names() -> AsyncIterator[Names]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Resolver, (HOST, 0))
    made = Names()
    made.zone = ZONE
    made.resolvers = (ip_address(HOST),)
    made.port = transport.get_extra_info("sockname")[1]
    yield made
    transport.close()


async def ask(names: Names, name: str, kind: str = "A") -> tuple[str, list[str]]:
    """The code and the addresses of an answer."""
    wire = await names.answer(dns.message.make_query(name, kind).to_wire())
    assert wire is not None
    answer = dns.message.from_wire(wire)
    return dns.rcode.to_text(answer.rcode()), [_value(one) for rrset in answer.answer for one in rrset]


def _value(data: Any) -> str:
    return str(getattr(data, "address", None) or data.target)


@pytest.mark.parametrize(
    ("name", "kind", "code", "addresses"),
    [
        ("gpu.gpu-box.nc", "A", "NOERROR", ["192.168.1.20"]),
        ("gpu.gpu-box.nc", "AAAA", "NOERROR", ["fd00::20"]),
        ("gpu.gpu-box.nc", "MX", "NOERROR", []),
        ("gateway.gpu-box.nc", "A", "NOERROR", ["100.64.0.1"]),
        ("nas.lan", "A", "NOERROR", ["192.168.1.30"]),
        ("nas.gpu-box.nc", "A", "NOERROR", ["192.168.1.30"]),
        ("bare.gpu-box.nc", "A", "NOERROR", ["192.168.1.40"]),
        ("www.lan", "A", "NOERROR", ["192.168.1.30"]),
        ("empty.lan", "A", "NOERROR", []),
        ("nobody.lan", "A", "NXDOMAIN", []),
        ("nobody.gpu-box.nc", "A", "NXDOMAIN", []),
        ("example.org", "A", "REFUSED", []),
        ("nas.lan", "MX", "NOERROR", []),
        ("20.1.168.192.in-addr.arpa", "PTR", "NOERROR", ["gpu.gpu-box.nc."]),
        ("20.1.168.192.in-addr.arpa", "A", "NOERROR", []),
        ("30.1.168.192.in-addr.arpa", "PTR", "NOERROR", ["nas.lan."]),
        ("30.1.168.192.in-addr.arpa", "A", "NOERROR", []),
        ("31.1.168.192.in-addr.arpa", "PTR", "NXDOMAIN", []),
        ("30.2.168.192.in-addr.arpa", "PTR", "REFUSED", []),
    ],
)
async def test_an_answer(names: Names, name: str, kind: str, code: str, addresses: list[str]) -> None:
    assert await ask(names, name, kind) == (code, addresses)


async def test_a_provider_cannot_name_other_machines(names: Names) -> None:
    """DNS rebinding: the user's own machine and network are not the provider's to name."""
    assert await ask(names, "evil.lan") == ("NOERROR", [])


async def test_addresses_are_as_the_user_sees_them(names: Names) -> None:
    moved = ip_address("10.201.7.0")
    names.to_user = lambda address: moved + (int(address) - int(ip_address("192.168.1.0")))
    names.to_provider = lambda address: ip_address("192.168.1.0") + (int(address) - int(moved))
    names.zone = Zone(peer="gpu-box", reachable=(ip_network("10.201.7.0/24"),), domains=("lan",))
    assert await ask(names, "nas.gpu-box.nc") == ("NOERROR", ["10.201.7.30"])
    assert await ask(names, "30.7.201.10.in-addr.arpa", "PTR") == ("NOERROR", ["nas.lan."])


async def test_while_there_is_no_tunnel(names: Names) -> None:
    names.zone = None
    assert await ask(names, "nas.lan") == ("REFUSED", [])


async def test_a_resolver_that_does_not_answer(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ASK_TIMEOUT", 0.05)
    alive = names.port
    names.port = 9  # nobody
    assert (await ask(names, "nas.lan"))[0] == "SERVFAIL"
    names.port = alive
    assert (await ask(names, "nas.lan"))[0] == "NOERROR"


class Hostile(asyncio.DatagramProtocol):
    """A resolver that answers with what `bend` makes of a right answer."""

    def __init__(self, bend: Callable[[bytes], bytes]) -> None:
        self.bend = bend

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = dns.message.make_response(dns.message.from_wire(data))
        reply.answer.append(dns.rrset.from_text("nas.lan.", 60, "IN", "A", "192.168.1.30"))
        self.transport.sendto(self.bend(reply.to_wire()), addr)


POINTS_AT_ITSELF = b"\xc0\x0c"
"""A compressed name that never ends, where the question's name stands."""


@pytest.mark.parametrize(
    "bend",
    [
        lambda wire: bytes([wire[0] ^ 1]) + wire[1:],
        lambda wire: wire[:12] + POINTS_AT_ITSELF + wire[-20:],
        lambda wire: wire[:-3],
        lambda wire: b"",
        lambda wire: b"\xff" * 60000,
        lambda wire: wire[:2] + bytes([wire[2] | 2]) + wire[3:],
        lambda wire: wire.replace(b"\x03nas", b"\x03sam"),
        lambda wire: wire[:3] + bytes([dns.rcode.REFUSED]) + wire[4:],
    ],
    ids=[
        "another id",
        "loop",
        "cut off",
        "empty",
        "noise",
        "truncated, and no TCP",
        "another question",
        "refused",
    ],
)
async def test_hostile_answers(
    names: Names, monkeypatch: pytest.MonkeyPatch, bend: Callable[[bytes], bytes]
) -> None:
    """Nothing of them is passed on, and it is said in time."""
    monkeypatch.setattr(server, "ASK_TIMEOUT", 0.1)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Hostile(bend), (HOST, 0))
    names.port = transport.get_extra_info("sockname")[1]
    async with asyncio.timeout(10):
        assert await ask(names, "nas.gpu-box.nc") == ("SERVFAIL", [])
        names.final = True
        assert await ask(names, "nas.lan") == ("NXDOMAIN", []), "or a stranger's resolver would be asked"
    transport.close()


async def test_a_second_provider_may_have_the_same_domain(names: Names) -> None:
    """A name that the first does not know is the second's, and nobody asks in a circle."""

    class OtherTunnel(Resolver):
        records: ClassVar = {"printer.lan.": ["printer.lan. 30 IN A 10.201.7.9"]}

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            asked.append(dns.message.from_wire(data))
            super().datagram_received(data, addr)

    asked: list[dns.message.Message] = []
    others = ["127.0.0.2"]
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(OtherTunnel, (others[0], names.port))
    names.others = lambda: others
    assert await ask(names, "nas.lan") == ("NOERROR", ["192.168.1.30"])
    assert asked == []
    assert await ask(names, "printer.lan") == ("NOERROR", ["10.201.7.9"])
    assert await ask(names, "nobody.lan") == ("NXDOMAIN", [])
    assert [one.flags & dns.flags.RD for one in asked] == [0, 0]
    answer = await names.answer(dns.message.make_query("printer.lan", "A", flags=0).to_wire())
    assert answer is not None
    assert dns.message.from_wire(answer).rcode() == dns.rcode.NXDOMAIN
    assert len(asked) == 2
    transport.close()


async def test_an_answer_is_bounded(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_ANSWERS", 10)
    assert len((await ask(names, "many.lan"))[1]) == 10


@pytest.fixture
async def listening(names: Names) -> AsyncIterator[Sockets]:
    """A server for `names`, without privileges."""
    sockets = bind("tests")
    server = NameServer(names)
    await server.start(sockets)
    yield sockets
    server.close()


@pytest.mark.parametrize("tcp", [False, True], ids=["UDP", "TCP"])
async def test_over_the_network(listening: Sockets, tcp: bool) -> None:
    query = dns.message.make_query("gpu.gpu-box.nc", "A")
    exchange = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    answer = await exchange(query, str(listening.address), timeout=10, port=listening.port)
    assert answer.answer[0].to_text() == "gpu.gpu-box.nc. 30 IN A 192.168.1.20"
    assert answer.flags & dns.flags.RA


async def test_what_does_not_fit_a_datagram_is_asked_again_by_tcp(names: Names, listening: Sockets) -> None:
    many = tuple(ip_address("192.168.1.0") + number for number in range(200))
    names.zone = Zone(peer="gpu-box", reachable=ZONE.reachable, hosts={"many": many})
    query = dns.message.make_query("many.gpu-box.nc", "A")
    answer, by_tcp = await dns.asyncquery.udp_with_fallback(
        query, str(listening.address), timeout=10, port=listening.port
    )
    assert by_tcp
    assert len(answer.answer[0]) == len(many)


async def test_a_connection_that_sends_half_a_question_is_closed(
    listening: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TCP_IDLE", 0.05)
    reader, writer = await asyncio.open_connection(str(listening.address), listening.port)
    writer.write(struct.pack("!H", 100) + b"half")
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


@given(st.binary(max_size=600))
def test_hostile_bytes_get_an_answer_or_none(wire: bytes) -> None:
    names = Names()
    names.zone = ZONE
    asyncio.run(names.answer(wire))


@given(st.integers(0, 40), st.binary(min_size=1, max_size=8))
def test_a_damaged_question_gets_an_answer_or_none(at: int, noise: bytes) -> None:
    names = Names()
    names.zone = ZONE
    wire = bytearray(dns.message.make_query("gpu.gpu-box.nc", "A").to_wire())
    wire[at : at + len(noise)] = noise
    asyncio.run(names.answer(bytes(wire)))
