"""nconnect over a devnet that does nothing to messages.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    up                                        serve         iperf3, HTTP

All on one machine, so that user, relay, provider and the two ends of each transfer share its cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, Lab, Party
from nconnect.demo.process import Process
from scripts.benchmarks import suite
from scripts.benchmarks.echo import Echo
from scripts.benchmarks.traffic import start_servers
from scripts.figures import Report

NAME = "nconnect"
STARTS = 3
FIRST_PING = "time from `up` to the first ping"
UP_MEMORY = suite.MEMORY.format("up")


@dataclass(frozen=True)
class Network:
    """A provider who serves the LAN to the user, who is not connected yet."""

    lab: Lab
    devnet: Process
    serve: Process
    address: str
    """The provider's."""


@asynccontextmanager
async def network() -> AsyncIterator[Network]:
    """Everything but the user."""
    async with Lab.create() as lab:
        await start_servers(lab, Party.LAN)
        devnet = await steps.start_devnet(lab)
        key = await steps.public_key(lab, Party.USER)
        serve, address = await steps.start_serve(lab, lan=(LAN,), allow=(key,))
        yield Network(lab, devnet, serve, address)


async def run(report: Report, seconds: int) -> None:
    """All rows of the tunnel."""
    async with network() as net:
        lab = net.lab
        times = [await time_to_first_ping(net) for _ in range(STARTS)]
        report.add(NAME, FIRST_PING, statistics.median(times), "s")
        up = await steps.start_up(lab, net.address)
        async with Echo(lab) as echo:
            await echo.beside(report, NAME)
        processes = {"up": up, "the relay": net.devnet, "serve": net.serve}
        await suite.run(report, suite.Subject(NAME, lab, Party.USER, LAN_HOST, processes), seconds)


async def time_to_first_ping(net: Network) -> float:
    """Seconds from the start of the process `up` until a ping of the LAN host has come back."""
    lab = net.lab
    # -D: each line begins with the time of day.
    pinger = lab.start(Party.USER, ["ping", "-D", "-i", "0.01", LAN_HOST], name="ping")
    start = time.time()
    up = lab.start_nconnect(Party.USER, "up", "--peer", net.address)
    try:
        match = await pinger.wait_for(r"^\[([\d.]+)\].* time=", steps.START_SECONDS)
    finally:
        await pinger.stop()
        await up.stop()
    return float(match[1]) - start
