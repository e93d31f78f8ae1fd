"""One run, one table: what sessions of ours carry, beside those of the official SDKs.

::

    dialler, writes ──── nconnect devnet ──── acceptor, reads

Each of the three is a process of its own, all on one machine, so they share its cores. CPU time is that of
both peers, without the network's. Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.devnet.config import Shape
from nconnect.nkn.addresses import sub_client_address
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.listener import Listener
from nconnect.nkn.multiclient import MultiClient
from scripts import command
from scripts.benchmarks.processes import parse_stat
from scripts.figures import Row, progress
from tests.interop import sdks
from tests.interop.driver import Driver
from tests.interop.peers import SUB_CLIENTS, Kind, PeerError

MB = 10**6
GB = 10**9
# Beyond it a cell of the table says "timeout".
CELL_TIMEOUT = 25.0
START_TIMEOUT = 20.0
# Below those that the kernel gives to whoever asks for any.
PORTS = 20_000, 30_000
LATENCIES_MS = (0, 50)
LOSSES_PCT = (0, 1)

OUR_COMMAND = (sys.executable, "-m", "scripts.session_peer")


@dataclass(frozen=True)
class Pair:
    """Who dials and writes, who accepts and reads, and how much.

    A few seconds' worth, several times the window of 4 MiB that may be sent at once, and the same for all
    that are compared with Go.
    """

    dialler: Kind
    acceptor: Kind
    megabytes: int
    megabytes_with_loss: int

    @property
    def name(self) -> str:
        return f"{self.dialler.value} → {self.acceptor.value}"


PAIRS = (
    Pair(Kind.OURS, Kind.OURS, 150, 100),
    Pair(Kind.OURS, Kind.GO, 30, 12),
    Pair(Kind.GO, Kind.OURS, 30, 12),
    Pair(Kind.GO, Kind.GO, 30, 12),
    Pair(Kind.JS, Kind.JS, 5, 5),
)


def driver_command(kind: Kind) -> tuple[str, ...]:
    return OUR_COMMAND if kind is Kind.OURS else sdks.command(kind)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, of user and system time."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text())[1]


def free_ports() -> int:
    """The first of the ports that a devnet of four nodes takes."""
    while True:
        port = random.randrange(*PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in range(port, port + 5):
                stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return port


@asynccontextmanager
async def devnet_process(latency_ms: int, loss_pct: int) -> AsyncIterator[str]:
    """A devnet in a process of its own; the URL of its RPC server."""
    endpoint = f"127.0.0.1:{free_ports()}"
    options = ("--listen", endpoint, "--latency", str(latency_ms), "--loss", str(loss_pct))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nconnect", "devnet", *options), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT):
            if not await process.stdout.readline():
                raise PeerError("the devnet did not start")
        yield f"http://{endpoint}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@asynccontextmanager
async def peer_process(kind: Kind, rpc_url: str, identifier: str, seed: bytes) -> AsyncIterator[Driver]:
    """A client with all its sub-clients in a process of its own."""
    driver = await Driver.start(driver_command(kind))
    who = {"identifier": identifier, "seed": seed.hex(), "subClients": SUB_CLIENTS}
    # The official SDKs' defaults.
    session = {"nonStream": False, "mtu": 1024}
    try:
        async with asyncio.timeout(START_TIMEOUT):
            await driver.call("connect", rpc=rpc_url, **who, **session)
        yield driver
    finally:
        driver.kill()
        await driver.end()


async def transfer(pair: Pair, rpc_url: str, size: int) -> tuple[float, float]:
    """Seconds from the first write until all has been read, and the CPU seconds of both peers meanwhile."""
    # The same for each pair: the sub-clients join the same nodes.
    alice, bob = bytes(31) + b"\1", bytes(31) + b"\2"
    address = f"bob.{KeyPair.from_seed(bob).public_key.hex()}"
    async with (
        peer_process(pair.dialler, rpc_url, "alice", alice) as writer,
        peer_process(pair.acceptor, rpc_url, "bob", bob) as reader,
    ):
        await reader.call("listen", accept=[".*"])
        here = (await writer.call("dial", dest=[address], timeoutMs=10_000))["session"]
        there = (await reader.event("session"))["session"]
        pids = writer.pid, reader.pid
        used = sum(map(cpu_seconds, pids))
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.timeout(CELL_TIMEOUT):
            sent, received = await asyncio.gather(
                writer.call("write", session=here, size=size), reader.call("read", session=there, size=size)
            )
        seconds = loop.time() - start
        if sent != received["sha256"]:
            raise PeerError("other bytes arrived than were sent")
        return seconds, sum(map(cpu_seconds, pids)) - used


async def throughput() -> list[Row]:
    rows = []
    for latency in LATENCIES_MS:
        for loss in LOSSES_PCT:
            for pair in PAIRS:
                name = f"{pair.name}, {latency} ms, {loss} % loss"
                size = MB * (pair.megabytes_with_loss if loss else pair.megabytes)
                rate = cost = None
                try:
                    async with devnet_process(latency, loss) as rpc_url:
                        seconds, used = await transfer(pair, rpc_url, size)
                    rate, cost = round(size / MB / seconds, 2), round(used / size * GB, 1)
                    progress(f"  {name}: {rate} MB/s, {cost} CPU s/GB, in {seconds:.1f} s")
                except (TimeoutError, PeerError) as error:
                    progress(f"  {name}: {str(error) or 'timeout'}")
                rows += [Row(name, rate, "MB/s"), Row(name, cost, "CPU s/GB")]
    return rows


# --- a dead sub-client ---

DIALS = 11
DEAD_NODE = 0
# So many that one node serves one sub-client of the dialler's and nobody else.
NODES = 16


async def echo_first(listener: Listener) -> None:
    async for session in listener:
        await session.write(await session.read(1))


async def time_of_first_byte() -> list[Row]:
    """From the dial until the answer to the first byte is there: two round trips at least.

    The dead sub-client's node takes messages and loses them, so neither end is told.
    """
    shapes = {DEAD_NODE: Shape(loss_pct=100.0)}
    config = DevnetConfig(nodes=NODES, listen="127.0.0.1:0", latency_ms=50.0, node_shapes=shapes)
    async with Devnet(config) as devnet:
        client_config = ClientConfig(seed_rpc=(devnet.rpc_url,), sub_clients=SUB_CLIENTS)

        def on_dead_node(key: KeyPair) -> int:
            address = key.public_key.hex()
            clients = (sub_client_address(address, index) for index in range(SUB_CLIENTS))
            return sum(devnet.responsible(client) == DEAD_NODE for client in clients)

        rng = random.Random(1)

        def key_with(dead: int) -> KeyPair:
            keys = iter(lambda: KeyPair.from_seed(rng.randbytes(32)), None)
            return next(key for key in keys if on_dead_node(key) == dead)

        rows = []
        for who, dead in (("dialler's", (1, 0)), ("acceptor's", (0, 1))):
            async with (
                MultiClient(key_with(dead[0]), "", client_config) as dialler,
                MultiClient(key_with(dead[1]), "", client_config) as acceptor,
            ):
                await dialler.wait_paths(SUB_CLIENTS)
                await acceptor.wait_paths(SUB_CLIENTS)
                echoing = asyncio.create_task(echo_first(acceptor.listen()))
                times = [await first_byte(dialler, acceptor.address) for _ in range(DIALS)]
                echoing.cancel()
            name = f"dial to first byte back, 50 ms, one of the {who} {SUB_CLIENTS} sub-clients dead"
            progress(f"  {name}: {' '.join(f'{seconds:.3f}' for seconds in sorted(times))} s")
            rows.append(Row(name, round(statistics.median(times), 3), "s"))
        return rows


async def first_byte(dialler: MultiClient, address: str) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    session = await dialler.dial(address)
    await session.write(b"?")
    await session.read(1)
    seconds = loop.time() - start
    session.abort()
    return seconds


async def measure() -> list[Row]:
    return [*await time_of_first_byte(), *await throughput()]


def main() -> None:
    options = command.make_parser("session", __doc__).parse_args()
    try:
        for kind in {pair.dialler for pair in PAIRS}:
            driver_command(kind)
    except pytest.fail.Exception as error:
        sys.exit(f"scripts/bench session: {error}")
    command.run("session", lambda: asyncio.run(measure()), as_json=options.json)


if __name__ == "__main__":
    main()
