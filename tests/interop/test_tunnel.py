"""nkn-tunnel at one end and `nconnect tunnel` at the other; and, to compare, nkn-tunnel at both.

::

    the test ── TCP ── entry ══ devnet ══ exit ── TCP ── the test
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from nconnect.cli.options import parse_pattern
from nconnect.config import NetworkSection
from nconnect.devnet import Devnet
from nconnect.forward.tunnel import Entry, Exit, TunnelOptions
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair

from ..forward.conftest import running
from ..forward.program import target
from ..nkn.waiting import soon, until
from . import sdks
from .conftest import home, key
from .peers import SUB_CLIENTS

pytestmark = [pytest.mark.interop, pytest.mark.go]

SIZE = 20_000_000
IDENTIFIER = "exit"
USER, PROVIDER, STRANGER = key("user"), key("provider"), key("stranger")
ADDRESS = str(Address(IDENTIFIER, PROVIDER.public_key))
USERS_KEY = parse_pattern(USER.public_key.hex())

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class End(enum.Enum):
    """Whose program."""

    OURS = "ours"
    THEIRS = "nkn-tunnel"


PAIRS = pytest.mark.parametrize(
    ("entry", "exit"),
    [(End.OURS, End.THEIRS), (End.THEIRS, End.OURS), (End.THEIRS, End.THEIRS)],
    ids=lambda end: end.value,
)


@contextlib.asynccontextmanager
async def nkn_tunnel(devnet: Devnet, key: KeyPair, identifier: str, *options: str) -> AsyncIterator[None]:
    """The program, once all its sub-clients have joined and it listens."""
    program = await asyncio.to_thread(sdks.nkn_tunnel)
    process = await asyncio.create_subprocess_exec(
        *(program, "-s", key.seed.hex(), "-i", identifier, "-rpc", devnet.rpc_url, *options),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    log = process.stderr

    async def drain() -> None:
        while await log.readline():
            pass

    draining = None
    try:
        async with asyncio.timeout(30):
            while b"Listening at" not in (line := await log.readline()):
                assert line, "nkn-tunnel ended"
        draining = asyncio.create_task(drain())
        address = str(Address(identifier, key.public_key))
        await until(lambda: all(home(devnet, address, i) is not None for i in range(SUB_CLIENTS)))
        yield
    finally:
        process.kill()
        await process.wait()
        if draining is not None:
            await draining


class Tunnels:
    """Makes ends of tunnels that last as long as the test."""

    def __init__(self, devnet: Devnet, stack: AsyncExitStack) -> None:
        self._devnet = devnet
        self._stack = stack
        self._network = NetworkSection(seed_rpc=(devnet.rpc_url,), sub_clients=SUB_CLIENTS)

    def _options(self, port: int, identifier: str) -> TunnelOptions:
        return TunnelOptions(target("127.0.0.1", port), False, "test", self._network, identifier)

    async def exit(self, end: End, handler: Handler) -> None:
        """To a server with that handler, for the user."""
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        self._stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        if end is End.OURS:
            service = Exit(self._options(port, IDENTIFIER), (USERS_KEY,), PROVIDER, lambda line: None)
            await self._stack.enter_async_context(running(service, []))
        else:
            options = (
                "-from",
                "nkn",
                "-to",
                f"127.0.0.1:{port}",
                "-accept",
                f"{USER.public_key.hex()}$",
            )
            await self._stack.enter_async_context(nkn_tunnel(self._devnet, PROVIDER, IDENTIFIER, *options))

    async def entry(self, end: End, key: KeyPair = USER) -> int:
        """From a port of 127.0.0.1, which is returned."""
        if end is End.OURS:
            service = Entry(self._options(0, ""), ADDRESS, key, lambda line: None)
            await self._stack.enter_async_context(running(service, []))
            return service.port
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        options = ("-from", f"127.0.0.1:{port}", "-to", ADDRESS, "-t", "2000")
        await self._stack.enter_async_context(nkn_tunnel(self._devnet, key, "entry", *options))
        return port


@pytest.fixture
def tunnels(devnet: Devnet, stack: AsyncExitStack) -> Tunnels:
    return Tunnels(devnet, stack)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@PAIRS
async def test_20_mb_each_way(tunnels: Tunnels, entry: End, exit: End) -> None:
    await tunnels.exit(exit, echo)
    reader, writer = await asyncio.open_connection("127.0.0.1", await tunnels.entry(entry))
    data = random.Random(1).randbytes(SIZE)
    writer.write(data)
    async with asyncio.timeout(120):
        received = await reader.readexactly(SIZE)
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
    writer.close()


@PAIRS
async def test_connections_at_once(tunnels: Tunnels, entry: End, exit: End) -> None:
    await tunnels.exit(exit, echo)
    port = await tunnels.entry(entry)

    async def talk(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        data = random.Random(number).randbytes(20_000)
        writer.write(data)
        assert await soon(reader.readexactly(len(data))) == data
        writer.close()

    await asyncio.gather(*map(talk, range(100)))


@PAIRS
async def test_the_end_of_one_direction_is_that_of_both(tunnels: Tunnels, entry: End, exit: End) -> None:
    """What was written before it arrives; what the server would say after it is not awaited."""
    got = asyncio.get_running_loop().create_future()

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.set_result(await reader.read())
        await asyncio.sleep(0.5)
        writer.write(b"too late")
        writer.close()

    await tunnels.exit(exit, answer_at_the_end)
    reader, writer = await asyncio.open_connection("127.0.0.1", await tunnels.entry(entry))
    data = random.Random(2).randbytes(100_000)
    writer.write(data)
    writer.write_eof()
    assert await soon(got) == data
    with contextlib.suppress(ConnectionError):
        assert await soon(reader.read()) == b""
    writer.close()


@PAIRS
async def test_a_server_that_ends_first(tunnels: Tunnels, entry: End, exit: End) -> None:
    data = random.Random(3).randbytes(100_000)

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    await tunnels.exit(exit, tell)
    reader, writer = await asyncio.open_connection("127.0.0.1", await tunnels.entry(entry))
    assert await soon(reader.read()) == data
    writer.close()


@PAIRS
async def test_only_who_is_accepted(tunnels: Tunnels, entry: End, exit: End) -> None:
    await tunnels.exit(exit, echo)
    served = []
    for user in (STRANGER, USER):
        reader, writer = await asyncio.open_connection("127.0.0.1", await tunnels.entry(entry, user))
        writer.write(b"hello")
        with contextlib.suppress(ConnectionError):
            served.append(await soon(reader.read(5)))
        writer.close()
    assert served[-1] == b"hello"
    assert served[:-1] in ([], [b""])
