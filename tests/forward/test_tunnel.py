"""Both ends of a tunnel, over a devnet."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import random
from collections.abc import AsyncIterator, Callable

import pytest

from nconnect.cli.options import parse_pattern
from nconnect.config import NetworkSection
from nconnect.errors import HostError
from nconnect.forward import liveness
from nconnect.forward import tunnel as module
from nconnect.forward.tunnel import Entry, Exit, TunnelOptions
from nconnect.nkn.keys import KeyPair

from ..nkn.waiting import soon, until
from .conftest import ANN, EVE, PROVIDER, MakeHost, Running, running
from .program import Datagrams, EchoHost, target

SIZE = 20_000_000
EXIT = f"exit.{PROVIDER.public_key.hex()}"
ANNS_KEY = (parse_pattern(ANN.public_key.hex()),)

MakeExit = Callable[..., contextlib.AbstractAsyncContextManager[Running]]


@pytest.fixture
def make_exit(network: NetworkSection) -> MakeExit:
    """`async with make_exit(port)`: to a server on 127.0.0.1, for Ann."""

    @contextlib.asynccontextmanager
    async def make(
        port: int, accept: tuple[str, ...] = ANNS_KEY, *, udp: bool = False
    ) -> AsyncIterator[Running]:
        said: list[str] = []
        options = TunnelOptions(target("127.0.0.1", port), udp, "exit", network)
        async with running(Exit(options, accept, PROVIDER, said.append), said) as run:
            yield run

    return make


@pytest.fixture
def make_entry(network: NetworkSection) -> MakeExit:
    """`async with make_entry()`: from a free port, by Ann unless told otherwise."""

    @contextlib.asynccontextmanager
    async def make(
        key: KeyPair = ANN, *, udp: bool = False, identifier: str = "", port: int = 0
    ) -> AsyncIterator[Running]:
        said: list[str] = []
        options = TunnelOptions(target("127.0.0.1", port), udp, "entry", network, identifier)
        async with running(Entry(options, EXIT, key, said.append), said) as run:
            yield run

    return make


async def connect(entry: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    assert isinstance(entry.service, Entry)
    return await asyncio.open_connection("127.0.0.1", entry.service.port)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def is_served(entry: Running) -> bool:
    """Whether what is sent comes back."""
    reader, writer = await connect(entry)
    writer.write(b"hello")
    try:
        return await soon(reader.read(5)) == b"hello"
    except ConnectionError:
        return False
    finally:
        writer.close()


async def test_20_mb_each_way(make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost) -> None:
    data = random.Random(1).randbytes(SIZE)
    async with make_exit(await make_host(echo)), make_entry() as entry:
        reader, writer = await connect(entry)
        writer.write(data)
        async with asyncio.timeout(60):
            received = await reader.readexactly(SIZE)
        assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
        writer.close()


async def test_all_that_was_written_before_the_end_arrives(
    make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost
) -> None:
    """The end of one direction is that of both, as with nkn-tunnel; but nothing before it is lost."""
    got = asyncio.get_running_loop().create_future()

    async def drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())
        writer.close()

    data = random.Random(2).randbytes(5_000_000)
    async with make_exit(await make_host(drain)), make_entry() as entry:
        reader, writer = await connect(entry)
        writer.write(data)
        writer.write_eof()
        assert await soon(got) == data
        assert await soon(reader.read()) == b""
        writer.close()


async def test_100_connections_at_once(
    make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost
) -> None:
    async with make_exit(await make_host(echo)) as exit, make_entry() as entry:

        async def talk(number: int) -> None:
            reader, writer = await connect(entry)
            data = random.Random(number).randbytes(20_000)
            writer.write(data)
            assert await soon(reader.readexactly(len(data))) == data
            writer.close()

        await asyncio.gather(*map(talk, range(100)))
        await until(lambda: exit.service.status().connections == 0)


async def test_only_who_is_accepted(
    make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not Eve, and not Eve with Ann's key as her identifier."""
    monkeypatch.setattr(module, "SESSION", dataclasses.replace(module.SESSION, dial_timeout=2.0))
    async with make_exit(await make_host(echo)):
        async with make_entry() as entry:
            assert await is_served(entry)
        for identifier in ("", ANN.public_key.hex(), f"{ANN.public_key.hex()}$"):
            async with make_entry(EVE, identifier=identifier) as entry:
                assert not await is_served(entry)


async def test_a_server_that_refuses(make_exit: MakeExit, make_entry: MakeExit) -> None:
    async with make_exit(1) as exit, make_entry() as entry:
        assert not await is_served(entry)
        await until(lambda: exit.service.status().failures)


async def test_an_exit_that_dies_ends_idle_connections(
    make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed: it says nothing any more, and the connection only waits for data."""
    monkeypatch.setattr(liveness, "ASK_INTERVAL", 0.1)
    monkeypatch.setattr(liveness, "REPLY_TIMEOUT", 0.2)
    async with make_exit(await make_host(echo)) as exit, make_entry() as entry:
        reader, writer = await connect(entry)
        writer.write(b"hello")
        assert await soon(reader.readexactly(5)) == b"hello"
        await until(lambda: entry.service._liveness._missed)
        for client in exit.service._client._clients:
            await client.close()
        with pytest.raises(ConnectionResetError):
            await soon(reader.read())
        writer.close()


async def test_an_exit_that_was_restarted(
    make_exit: MakeExit, make_entry: MakeExit, make_host: MakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there, but knows nothing of the connections of before."""
    monkeypatch.setattr(liveness, "ASK_INTERVAL", 0.5)
    host = await make_host(echo)
    async with contextlib.AsyncExitStack() as stack:
        exit = await stack.enter_async_context(make_exit(host))
        entry = await stack.enter_async_context(make_entry())
        reader, writer = await connect(entry)
        writer.write(b"hello")
        assert await soon(reader.readexactly(5)) == b"hello"
        for client in exit.service._client._clients:
            await client.close()
        await stack.enter_async_context(make_exit(host))
        assert await is_served(entry)
        with pytest.raises(ConnectionResetError):
            await soon(reader.read())
        writer.close()


async def test_udp(make_exit: MakeExit, make_entry: MakeExit) -> None:
    host = await EchoHost.open()
    async with make_exit(host.port, udp=True), make_entry(udp=True) as entry:
        assert isinstance(entry.service, Entry)
        programs = [await Datagrams.open(("127.0.0.1", entry.service.port)) for _ in range(3)]
        for size in (1, 1200, 65_507):
            for number, program in enumerate(programs):
                payload = random.Random(size + number).randbytes(size)
                program.transport.sendto(payload)
                assert (await soon(program.received.get()))[0] == payload
        assert entry.service.status().flows == 3


async def test_udp_of_who_is_not_accepted(make_exit: MakeExit, make_entry: MakeExit) -> None:
    host = await EchoHost.open()
    async with make_exit(host.port, udp=True), make_entry(EVE, udp=True) as entry:
        assert isinstance(entry.service, Entry)
        program = await Datagrams.open(("127.0.0.1", entry.service.port))
        program.transport.sendto(b"hello")
        async with make_entry(udp=True) as other:
            assert isinstance(other.service, Entry)
            accepted = await Datagrams.open(("127.0.0.1", other.service.port))
            accepted.transport.sendto(b"hello too")
            assert (await soon(accepted.received.get()))[0] == b"hello too"
        assert host.received.qsize() == 1


async def test_a_port_that_is_taken(make_entry: MakeExit, make_host: MakeHost) -> None:
    port = await make_host(echo)
    with pytest.raises(HostError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
        async with make_entry(port=port):
            pass
