"""The tunnel over networks that are slow, far, lossy, uneven or failing.

The kernel shapes nothing here; the devnet's nodes do (`nconnect devnet --rate --latency --loss --node`). A
node's rate is that of each direction, of what its clients hand in and of what they get. What waits for longer
than 0.25 s at a node is dropped there, as at a home router.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nconnect.demo import steps
from nconnect.demo.lab import DEVNET_ADDRESS, DEVNET_PORT, LAN, LAN_HOST, Lab, Party
from nconnect.demo.process import Process
from nconnect.nkn.keys import KeyPair
from scripts.benchmarks import programs
from scripts.benchmarks.identities import write_identity
from scripts.benchmarks.traffic import ping, result, start_servers, tcp, tcp_with_ping
from scripts.figures import Report

LINK_MBIT = 50
ONE_WAY_MS = 20
# Four nodes, one 10 times slower than the others: 124 Mbit/s together.
NODE_MBIT = 40
SLOW_NODE_MBIT = 4
# Four alike, which carry 50 Mbit/s together.
EVEN_NODE_MBIT = 12.5
VICTIM = 1
SUB_CLIENTS = 4
LOSS_PCT = 1

# The names of the rows: a network, and what was measured there.
LINK = f"{LINK_MBIT} Mbit/s, {2 * ONE_WAY_MS} ms"
LOSSY_LINK = f"{LINK}, {LOSS_PCT} % loss"
SLOW_NODE = "one of four nodes 10 × slower"
DEAD_NODE = "one of four nodes killed"
FOUR_NODES = "four nodes"
UP, DOWN = "TCP up", "TCP down"
# What iperf3 calls them.
DIRECTIONS = {UP: (), DOWN: ("--reverse",)}
PING_ABOVE_IDLE = "ping during {}, p95 above idle"
STALL = "longest stall of a TCP stream"

STREAM_PORT = 5000
IDLE_SECONDS = 2.0
POLL_SECONDS = 0.1


@asynccontextmanager
async def tunnel(
    user_nodes: Sequence[int], provider_nodes: Sequence[int], devnet: Sequence[str] = (), *, nodes: int
) -> AsyncIterator[tuple[Lab, Process]]:
    """A lab with a connected user, each sub-client at the node that is asked for, and its devnet.

    `devnet`: options of the command, or if the first is an absolute path, another command.
    """
    user, provider = KeyPair.generate(), KeyPair.generate()
    places: list[str] = []
    for key, wanted in ((user, user_nodes), (provider, provider_nodes)):
        places += "--place", f"{key.public_key.hex()}:{','.join(map(str, wanted))}"
    async with Lab.create() as lab:
        for party, key in ((Party.USER, user), (Party.PROVIDER, provider)):
            write_identity(lab.directory / party, key)
        if devnet and Path(devnet[0]).is_absolute():
            command = [*devnet, *places]
            network = lab.start(Party.INTERNET, command, name="devnet", env=programs.ENVIRONMENT)
            await network.wait_for(r"--seed-rpc \S+", steps.START_SECONDS)
        else:
            network = await steps.start_devnet(lab, *devnet, *places, nodes=nodes)
        await start_servers(lab, Party.LAN)
        _, address = await steps.start_serve(lab, lan=(LAN,), allow=(user.public_key.hex(),))
        await steps.start_up(lab, address)
        await wait_for_paths(lab)
        yield lab, network


async def wait_for_paths(lab: Lab) -> None:
    """Return when both sides have all their sub-clients: the first is enough for a connection."""
    async with asyncio.timeout(steps.START_SECONDS):
        while True:
            sides = await steps.up_status(lab), await steps.serve_status(lab)
            if all(path.state == "ready" for side in sides for path in side.paths):
                return
            await asyncio.sleep(POLL_SECONDS)


async def link(report: Report, seconds: int) -> None:
    """One link of 50 Mbit/s, 40 ms there and back, that all paths of a side share.

    The user's sub-clients are all at one node and the provider's all at the other, so each direction has one
    bottleneck, as at the access line of a home.
    """
    await _link(report, seconds, LINK)


async def lossy_link(report: Report, seconds: int) -> None:
    """The same link, and of each hundred messages one is lost."""
    await _link(report, seconds, LOSSY_LINK, "--loss", str(LOSS_PCT))


async def _link(report: Report, seconds: int, name: str, *more: str) -> None:
    options = ("--rate", str(LINK_MBIT), "--latency", str(ONE_WAY_MS), *more)
    async with tunnel([0] * SUB_CLIENTS, [1] * SUB_CLIENTS, options, nodes=2) as (lab, _):
        idle = (await ping(lab, Party.USER, LAN_HOST, IDLE_SECONDS)).median
        report.add(name, "ping, idle", idle, "ms")
        for direction, reverse in DIRECTIONS.items():
            transfer, pings = await tcp_with_ping(lab, Party.USER, LAN_HOST, seconds, *reverse)
            report.add(name, direction, 100 * transfer.mbit / LINK_MBIT, "% of the link")
            busy = pings.percentile(95)
            longer = None if busy is None or idle is None else busy - idle
            report.add(name, PING_ABOVE_IDLE.format(direction), longer, "ms")


async def slow_node(report: Report, seconds: int) -> None:
    """Four paths, each over a node of its own, one of them 10 times slower than the others."""
    every = range(SUB_CLIENTS)
    options = ("--latency", str(ONE_WAY_MS), "--rate", str(NODE_MBIT), "--node", f"3:rate={SLOW_NODE_MBIT}")
    total = (SUB_CLIENTS - 1) * NODE_MBIT + SLOW_NODE_MBIT
    async with tunnel(every, every, options, nodes=SUB_CLIENTS) as (lab, _):
        for direction, reverse in DIRECTIONS.items():
            transfer = await tcp(lab, Party.USER, LAN_HOST, seconds, *reverse)
            report.add(SLOW_NODE, direction, 100 * transfer.mbit / total, "% of all nodes")


async def dead_node(report: Report, seconds: int) -> None:
    """Four paths, each over a node of its own, one of which dies in the middle of an upload."""
    every = range(SUB_CLIENTS)
    listen = f"{DEVNET_ADDRESS}:{DEVNET_PORT}"
    devnet = programs.command("failing_devnet", listen, SUB_CLIENTS, ONE_WAY_MS, EVEN_NODE_MBIT, VICTIM)
    env = programs.ENVIRONMENT
    async with tunnel(every, every, devnet, nodes=SUB_CLIENTS) as (lab, network):
        for name, kills in ((FOUR_NODES, False), (DEAD_NODE, True)):
            receive = programs.command("stream", "receive", STREAM_PORT)
            receiver = lab.start(Party.LAN, receive, name="stream", env=env)
            await receiver.wait_for("^listening", steps.START_SECONDS)
            send = programs.command("stream", "send", LAN_HOST, STREAM_PORT, seconds)
            sender = lab.start(Party.USER, send, name="stream", env=env)
            await asyncio.sleep(seconds / 2)
            if kills:
                network.send_signal(signal.SIGUSR1)
            await sender.wait(seconds + steps.START_SECONDS)
            report.add(name, STALL, 1e3 * (await result(receiver))["longest_stall"], "ms")
