"""Grants where the provider makes the connections: what each user may reach, at what rate, for how long."""

from __future__ import annotations

import asyncio
import time

import pytest

from nconnect.forward.rate import MIN_BURST
from nconnect.forward.socks5 import Command, Reply, encode_datagram
from nconnect.permission.authority import Authority
from nconnect.permission.decision import RefusalCode
from nconnect.permission.grants import Grant, parse_target
from nconnect.tunnel import control
from nconnect.tunnel.joining import refusal as words

from ..nkn.waiting import soon, until
from .conftest import ANN, EVE, PROVIDER, MakeHost, MakeSocks, Running
from .program import Datagrams, EchoHost, connect, refusal, request, target
from .test_socks import echo, port, users

SIZE = 1_000_000
RATE = 100_000
"""Bits a second: half of what passes at once takes five seconds."""


def authority(provider: Running) -> Authority:
    found = provider.service._authority
    assert isinstance(found, Authority)
    return found


def allow(provider: Running, grant: Grant) -> None:
    authority(provider).store.allow(ANN.public_key, "ann", grant)
    provider.service.permissions_changed()


def only(*targets: str) -> Grant:
    return Grant(tuple(map(parse_target, targets)))


async def test_what_was_granted_and_nothing_else(
    provider: Running, socks: Running, make_host: MakeHost
) -> None:
    one, other = await make_host(echo), await make_host(echo)
    allow(provider, only(f"127.0.0.1:{one}/tcp"))
    _, writer = await connect(port(socks), one)
    assert await refusal(port(socks), "127.0.0.1", other) is Reply.NOT_ALLOWED
    writer.close()


async def test_a_connection_ends_with_its_grant_and_no_other(
    provider: Running, socks: Running, make_host: MakeHost
) -> None:
    one, other = await make_host(echo), await make_host(echo)
    first, second = await connect(port(socks), one), await connect(port(socks), other)
    allow(provider, only(f"127.0.0.1:{one}/tcp"))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await soon(second[0].readexactly(1))
    first[1].write(b"still here")
    assert await soon(first[0].readexactly(10)) == b"still here"
    await until(lambda: users(provider) == {ANN.public_key.hex(): 1})
    first[1].close()


async def test_the_first_of_two_machines_with_one_key_hears_of_the_second(
    provider: Running, socks: Running, make_socks: MakeSocks
) -> None:
    async with make_socks(ANN):
        await until(lambda: any("another machine connected with your key" in line for line in socks.said))


async def test_a_connection_that_was_being_made_when_its_grant_ended(
    provider: Running, socks: Running, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    destinations, gate = provider.service._destinations, asyncio.Event()
    slow = destinations.connect

    async def connect_slowly(*arguments: object) -> object:
        connected = await slow(*arguments)
        reached.set()
        await gate.wait()
        return connected

    reached = asyncio.Event()
    monkeypatch.setattr(destinations, "connect", connect_slowly)
    asking = asyncio.create_task(refusal(port(socks), "127.0.0.1", await make_host(echo)))
    await soon(reached.wait())
    allow(provider, only("127.0.0.1:9/tcp"))
    gate.set()
    assert await soon(asking) is Reply.NOT_ALLOWED


async def test_datagrams_end_with_their_grant(provider: Running, socks: Running) -> None:
    host, other = await EchoHost.open(), await EchoHost.open()
    reply, bound, streams = await request(port(socks), Command.UDP_ASSOCIATE, target("0.0.0.0", 0))
    assert reply is Reply.SUCCEEDED
    program = await Datagrams.open(("127.0.0.1", bound.port))

    async def answered(to: int, payload: bytes) -> bool:
        program.transport.sendto(encode_datagram(target("127.0.0.1", to), payload))
        try:
            async with asyncio.timeout(0.5):
                data, _ = await program.received.get()
        except TimeoutError:
            return False
        return data.endswith(payload)

    assert await answered(host.port, b"one")
    assert await answered(other.port, b"two")
    allow(provider, only(f"127.0.0.1:{other.port}/udp"))
    assert not await answered(host.port, b"three")
    assert await answered(other.port, b"four")
    allow(provider, only(f"127.0.0.1:{other.port}/tcp"))
    assert not await answered(other.port, b"five")
    assert host.received.qsize() == 1
    streams[1].close()
    for each in (host, other, program):
        each.transport.close()


async def test_revoked(provider: Running, socks: Running, make_host: MakeHost) -> None:
    """The connection ends at once, and the proxy with a reason."""
    reader, writer = await connect(port(socks), await make_host(echo))
    writer.write(b"hello")
    assert await soon(reader.readexactly(5)) == b"hello"
    authority(provider).store.revoke(ANN.public_key)
    provider.service.permissions_changed()
    assert users(provider) == {}
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await soon(reader.readexactly(1))
    with pytest.raises(Exception, match="the provider has revoked your access") as caught:
        await soon(socks.task)
    assert getattr(caught.value, "exit_code", 0) == 5


async def test_a_quota(provider: Running, socks: Running, make_host: MakeHost) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    allow(provider, Grant(quota=SIZE))
    reader, _ = await connect(port(socks), await make_host(pour))
    received = 0
    with pytest.raises(ConnectionError):
        while data := await soon(reader.read(65536)):
            received += len(data)
        raise ConnectionError
    with pytest.raises(Exception, match="your quota of 1MB is used up"):
        await soon(socks.task)
    stored = authority(provider).store.find(ANN.public_key)
    assert stored is not None and stored.used >= SIZE


@pytest.mark.parametrize("upload", [True, False])
async def test_a_rate(provider: Running, socks: Running, make_host: MakeHost, upload: bool) -> None:
    """8 Mbit/s: a megabyte takes a second, within what a burst and a busy machine change."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if upload:
            writer.write(str(len(await reader.read())).encode())
        else:
            writer.write(bytes(SIZE))
            await writer.drain()
        writer.close()

    allow(provider, Grant(rate=8_000_000))
    begun = time.monotonic()
    reader, writer = await connect(port(socks), await make_host(serve))
    writer.write(bytes(SIZE) if upload else b"")
    if upload:
        writer.write_eof()
    content = await soon(reader.read())
    assert len(content) == SIZE or content == str(SIZE).encode()
    assert 0.75 <= time.monotonic() - begun < 5
    writer.close()


async def test_another_connection_is_no_new_allowance(
    provider: Running, make_socks: MakeSocks, make_host: MakeHost
) -> None:
    """What passes at once at first has passed once."""
    allow(provider, Grant(rate=RATE))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(MIN_BURST))
        await writer.drain()
        writer.close()

    host = await make_host(serve)
    seconds = []
    for _ in range(2):
        async with make_socks(ANN) as socks:
            await soon(socks.service.ready.wait())
            begun = time.monotonic()
            reader, writer = await connect(port(socks), host)
            await soon(reader.readexactly(MIN_BURST // 2))
            seconds.append(time.monotonic() - begun)
            writer.close()
    assert seconds[1] > 1.0, seconds


async def test_who_waits_is_let_in(provider: Running, make_socks: MakeSocks) -> None:
    """`socks --wait`: asks again, hears once that it waits, and connects by itself."""

    async def let_in() -> None:
        await until(lambda: provider.service.status().knocks)
        [knock] = provider.service.status().knocks
        authority(provider).store.allow(bytes.fromhex(knock.key), "eve", Grant())
        provider.service.permissions_changed()

    letting = asyncio.create_task(let_in())
    async with make_socks(EVE, wait=True) as run:
        await letting
        await until(lambda: users(provider) == {EVE.public_key.hex(): 0})
        refused = control.Refused(RefusalCode.NOT_ADMITTED, "this key is not admitted")
        assert run.said[0] == f"{words(EVE.public_key, refused)}\nwaiting for that"
        assert PROVIDER.public_key.hex() not in run.said[0]
