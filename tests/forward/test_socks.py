"""The proxy and the provider together, over a devnet."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random

import pytest

from nconnect.errors import RefusedError
from nconnect.forward import provider as provider_module
from nconnect.forward import socks as module
from nconnect.forward import socks5
from nconnect.forward.pipe import reset
from nconnect.forward.socks5 import Command, Reply
from nconnect.tunnel.status import ServeStatus, SocksStatus

from ..nkn.waiting import soon, until
from .conftest import ANN, EVE, MakeHost, MakeSocks, Running
from .program import Datagrams, EchoHost, connect, refusal, request, target

SIZE = 20_000_000


def port(socks: Running) -> int:
    status = socks.service.status()
    assert isinstance(status, SocksStatus)
    return int(status.listen.rpartition(":")[2])


def users(provider: Running) -> dict[str, int | None]:
    status = provider.service.status()
    assert isinstance(status, ServeStatus)
    return {user.key: user.connections for user in status.users}


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def test_a_connection_and_its_half_close(socks: Running, make_host: MakeHost) -> None:
    """The host answers only after it has read to the end."""

    async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        writer.close()

    reader, writer = await connect(port(socks), await make_host(reverse))
    writer.write(b"drawer")
    writer.write_eof()
    assert await soon(reader.read()) == b"reward"
    writer.close()


async def test_a_name_is_resolved_at_the_provider(socks: Running, make_host: MakeHost) -> None:
    reader, writer = await connect(port(socks), await make_host(echo), "localhost")
    writer.write(b"hello")
    assert await soon(reader.readexactly(5)) == b"hello"
    writer.close()


async def test_20_mb_each_way(socks: Running, make_host: MakeHost) -> None:
    data = random.Random(1).randbytes(SIZE)
    reader, writer = await connect(port(socks), await make_host(echo))

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        received = await reader.read()
        await sending
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
    writer.close()


async def test_100_connections_at_once(socks: Running, provider: Running, make_host: MakeHost) -> None:
    host = await make_host(echo)

    async def talk(number: int) -> None:
        reader, writer = await connect(port(socks), host)
        data = random.Random(number).randbytes(50_000)
        writer.write(data)
        writer.write_eof()
        assert await soon(reader.read()) == data
        writer.close()

    await asyncio.gather(*map(talk, range(100)))
    await until(lambda: users(provider) == {ANN.public_key.hex(): 0})


async def test_udp(socks: Running) -> None:
    host = await EchoHost.open()
    reply, bound, (_, writer) = await request(port(socks), Command.UDP_ASSOCIATE, target("0.0.0.0", 0))
    assert reply is Reply.SUCCEEDED
    program = await Datagrams.open((str(bound.host), bound.port))
    for size in (1, 1200, 60_000):
        payload = random.Random(size).randbytes(size)
        program.transport.sendto(socks5.encode_datagram(target("127.0.0.1", host.port), payload))
        answer, _ = await soon(program.received.get())
        source, body = socks5.decode_datagram(answer)
        assert (source, bytes(body)) == (target("127.0.0.1", host.port), payload)
    writer.close()


async def test_a_stranger_is_refused(provider: Running, make_socks: MakeSocks) -> None:
    with pytest.raises(RefusedError, match="not admitted yet; your key is " + EVE.public_key.hex()):
        async with make_socks(EVE):
            pass
    assert EVE.public_key.hex() in provider.said[-1]


async def test_a_destination_that_is_not_served(socks: Running) -> None:
    assert await refusal(port(socks), "127.0.0.66") is Reply.NOT_ALLOWED
    assert await refusal(port(socks), "192.0.2.1") is Reply.NOT_ALLOWED


async def test_a_host_that_refuses(socks: Running, make_host: MakeHost) -> None:
    assert await refusal(port(socks), "127.0.0.1", 1) is Reply.CONNECTION_REFUSED


# --- ends that are not in order ---


async def wait_forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A host that takes what comes and says nothing; the writer lives as long as the task."""
    while await reader.read(65536):
        pass
    writer.close()


async def test_a_reset_is_a_reset_at_the_other_end(socks: Running, make_host: MakeHost) -> None:
    """Both ways: half a file must not look like a whole one."""
    seen = asyncio.get_running_loop().create_future()

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"half of it")
        if await reader.read(5) == b"break":
            reset(writer)
            return
        try:
            await reader.read()
        except ConnectionError as error:
            seen.set_result(error)

    listening = await make_host(host)
    reader, writer = await connect(port(socks), listening)
    writer.write(b"break")
    with pytest.raises(ConnectionResetError):
        await soon(reader.read())
    reader, writer = await connect(port(socks), listening)
    writer.write(b"hello")
    assert await soon(reader.readexactly(10)) == b"half of it"
    reset(writer)
    assert isinstance(await soon(seen), ConnectionResetError)


async def test_a_provider_that_stops_ends_its_connections(
    socks: Running, provider: Running, make_host: MakeHost
) -> None:
    reader, writer = await connect(port(socks), await make_host(wait_forever))
    await provider.stop()
    with pytest.raises(ConnectionResetError):
        await soon(reader.read())
    writer.close()
    await until(lambda: socks.service.status().state == "reconnecting")


async def test_a_link_that_is_lost_is_dialled_again(
    socks: Running, provider: Running, make_host: MakeHost
) -> None:
    host = await make_host(echo)
    reader, writer = await connect(port(socks), host)
    (user,) = provider.service._users.values()
    user.link.abort()
    with pytest.raises(ConnectionResetError):
        await soon(reader.read())
    writer.close()
    reader, writer = await connect(port(socks), host)
    writer.write(b"hello")
    assert await soon(reader.readexactly(5)) == b"hello"
    writer.close()


async def test_without_a_link_a_program_hears_so(
    socks: Running, provider: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINK_WAIT", 0.1)
    await provider.stop()
    await until(lambda: socks.service.status().state == "reconnecting")
    assert await refusal(port(socks), "127.0.0.1") is Reply.NETWORK_UNREACHABLE


async def test_a_user_has_so_many_connections(
    socks: Running, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_module, "MAX_CONNECTIONS", 3)
    host = await make_host(wait_forever)
    writers = [(await connect(port(socks), host))[1] for _ in range(3)]
    assert await refusal(port(socks), "127.0.0.1", host) is Reply.GENERAL_FAILURE
    writers.pop().close()
    await until(lambda: socks.service.status().connections == 2)
    writers.append((await connect(port(socks), host))[1])
    for writer in writers:
        writer.close()


async def test_a_program_that_goes_while_it_is_connected(socks: Running, provider: Running) -> None:
    """Gone before the answer: nothing of it is left at either end."""
    _, writer = await asyncio.open_connection("127.0.0.1", port(socks))
    writer.write(b"\x05\x01\x00" + bytes([5, 1, 0]) + socks5.encode_target(target("localhost", 9)))
    writer.close()
    await until(lambda: socks.service.status().connections == 0)
    await until(lambda: users(provider) == {ANN.public_key.hex(): 0})


# --- programs that speak otherwise ---


async def test_commands_that_there_are_not(socks: Running) -> None:
    for command in (Command.BIND, 9):
        reply, _, (reader, writer) = await request(port(socks), command, target("127.0.0.1", 80))
        assert reply is Reply.COMMAND_NOT_SUPPORTED
        assert await soon(reader.read()) == b""
        writer.close()


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b""),
        (b"\x05\x01\x00\x05\x01\x00\x09\x00\x00\x00", b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x03a b\x00\x50", b"\x05\x00"),
        (b"\x05\x01\x00\x06\x01\x00\x01", b"\x05\x00"),
    ],
    ids=["password", "no method", "HTTP", "SOCKS4", "address type", "no name", "version"],
)
async def test_who_speaks_otherwise_is_hung_up_on(socks: Running, said: bytes, answer: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port(socks))
    writer.write(said)
    got = b""
    with contextlib.suppress(ConnectionResetError):  # what was not read, the kernel answers so
        while chunk := await soon(reader.read(100)):
            got += chunk
    assert got == answer
    writer.close()


async def test_who_says_nothing_is_hung_up_on(socks: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_TIMEOUT", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port(socks))
    assert await soon(reader.read()) == b""
    writer.close()


# --- datagrams ---


async def associate(socks: Running) -> tuple[int, asyncio.StreamWriter]:
    reply, bound, (_, writer) = await request(port(socks), Command.UDP_ASSOCIATE, target("0.0.0.0", 0))
    assert reply is Reply.SUCCEEDED
    return bound.port, writer


async def test_datagrams_of_others_are_dropped(socks: Running) -> None:
    host = await EchoHost.open()
    relay, writer = await associate(socks)
    first, other = [await Datagrams.open(("127.0.0.1", relay)) for _ in range(2)]
    for program, payload in ((first, b"1"), (other, b"2"), (first, b"3")):
        program.transport.sendto(socks5.encode_datagram(target("127.0.0.1", host.port), payload))
    got = [(await soon(first.received.get()))[0][-1:] for _ in range(2)]
    assert got == [b"1", b"3"]
    assert other.received.empty()
    writer.close()


async def test_datagrams_to_what_is_not_served_are_lost(socks: Running) -> None:
    host = await EchoHost.open()
    relay, writer = await associate(socks)
    program = await Datagrams.open(("127.0.0.1", relay))
    for where in ("127.0.0.66", "192.0.2.1", "127.0.0.1"):
        program.transport.sendto(socks5.encode_datagram(target(where, host.port), where.encode()))
    program.transport.sendto(b"\x00\x00\x07garbage")
    answer, _ = await soon(program.received.get())
    assert answer.endswith(b"127.0.0.1")
    assert program.received.empty()
    writer.close()


async def test_an_association_ends_with_its_connection(socks: Running, provider: Running) -> None:
    host = await EchoHost.open()
    relay, writer = await associate(socks)
    program = await Datagrams.open(("127.0.0.1", relay))
    program.transport.sendto(socks5.encode_datagram(target("127.0.0.1", host.port), b"x"))
    await soon(program.received.get())
    (user,) = provider.service._users.values()
    assert (socks.service.status().associations, len(user._flows)) == (1, 1)
    writer.close()
    await until(lambda: (socks.service.status().associations, len(user._flows)) == (0, 0))


# --- several links ---


async def test_a_second_link_of_a_key_takes_the_place_of_the_first(
    provider: Running, make_socks: MakeSocks, make_host: MakeHost
) -> None:
    host = await make_host(wait_forever)
    async with make_socks() as first:
        writers = [(await connect(port(first), host))[1] for _ in range(2)]
        for client in first.service._client._clients:
            await client.close()  # killed: it says no goodbye
        async with make_socks() as second:
            writers.append((await connect(port(second), host))[1])
            await until(lambda: users(provider) == {ANN.public_key.hex(): 1})
        for writer in writers:
            writer.close()
