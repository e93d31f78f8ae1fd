"""1, 10 and 100 users of one gateway: what they get together, and what each costs.

Each user is an `nconnect up` in a namespace of its own, and all send to the LAN at the same time. They share
the cores with the relay, the gateway and the two ends of the streams; what 100 processes take of them for
being 100, a real gateway's users spend at home. So that starting them takes a minute and not ten, they are
forks of one process that has loaded everything (programs/users.py). What such an `up` takes of memory is said
without what it shares with the others. With a part of that for each (PSS) it would be less the more they are,
though nobody takes less; what an `up` has that shares nothing is the tunnel's row, its peak memory.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, Lab, Party
from nconnect.errors import NconnectError
from scripts.benchmarks import programs
from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.processes import Measured, cpu_seconds, private, resident
from scripts.benchmarks.programs.streams import WARM_UP_SECONDS
from scripts.benchmarks.traffic import GRACE_SECONDS, result
from scripts.figures import Report

SIZES = (1, 10, 100)
PORT = 5000
AGGREGATE = "TCP up, all together"
SLOWEST = "the slowest user's part of an equal share"
OF_ONE_USER = "all together, of what one user gets"
# What each costs, on average.
CPU_SERVE = "CPU of serve, a user"
CPU_UP = "CPU of up, a user"
MEMORY_SERVE = "memory of serve, each user more"
MEMORY_UP = "private memory of up, a user"


@dataclass(frozen=True)
class Together:
    """What is compared with that of other sizes."""

    mbit: float
    serve_memory: float


def subject(size: int) -> str:
    """What rows about so many users begin with."""
    return "1 user" if size == 1 else f"{size} users"


async def run(report: Report, seconds: int) -> None:
    """All rows of all sizes."""
    async with Lab.create() as lab, Crowd(lab, max(SIZES)) as crowd:
        relay = await steps.start_devnet(lab)
        keys = [key.public_key.hex() for key in crowd.keys]
        serve, address = await steps.start_serve(lab, lan=(LAN,), allow=(",".join(keys),))
        alone: Together | None = None
        for size in SIZES:
            await crowd.grow(size, address)
            together = await measure(report, lab, crowd, serve, relay, seconds)
            alone = alone or together
            if size > 1:
                report.add(subject(size), OF_ONE_USER, 100 * together.mbit / alone.mbit, "%")
                more = (together.serve_memory - alone.serve_memory) / (size - 1)
                report.add(subject(size), MEMORY_SERVE, more, "MB")


async def measure(
    report: Report, lab: Lab, crowd: Crowd, serve: Measured, relay: Measured, seconds: int
) -> Together:
    """The rows of the users that are connected now."""
    size = len(crowd.users)
    processes: Mapping[str, Sequence[Measured]] = {
        "serve": [serve],
        "the relay": [relay],
        "up": crowd.users,
    }
    receive = programs.command("streams", "receive", PORT, size, seconds)
    receiver = lab.start(Party.LAN, receive, name="streams", env=programs.ENVIRONMENT)
    await receiver.wait_for("^listening", steps.START_SECONDS)
    before = {name: _cpu(group) for name, group in processes.items()}
    # From where all namespaces can be entered, as from any.
    send = programs.command("streams", "send", LAN_HOST, PORT, *crowd.namespaces())
    await lab.run(Party.USER, send, env=programs.ENVIRONMENT, seconds=seconds + 2 * GRACE_SECONDS)
    used = {name: _cpu(group) - before[name] for name, group in processes.items()}
    received = await result(receiver)
    sizes: list[int] = received["bytes"]
    name = subject(size)
    if not sum(sizes):
        raise NconnectError(f"nothing arrived of what {name} sent")
    mbit: float = sum(sizes) * 8 / received["seconds"] / 1e6
    report.add(name, AGGREGATE, mbit, "Mbit/s")
    if size > 1:
        report.add(name, SLOWEST, 100 * min(sizes) * size / sum(sizes), "%")
    for group, value in used.items():
        report.add(name, f"CPU of {group}", value / (received["total"] / 1e9), "s/GB")
    # The streams start once all of them are connected.
    took = WARM_UP_SECONDS + received["seconds"]
    for what, group in ((CPU_SERVE, "serve"), (CPU_UP, "up")):
        report.add(name, what, 100 * used[group] / took / size, "% of a core")
    memory = resident(serve)
    report.add(name, "memory of serve", memory, "MB")
    report.add(name, "memory of the relay", resident(relay), "MB")
    report.add(name, MEMORY_UP, statistics.mean(map(private, crowd.users)), "MB")
    return Together(mbit, memory)


def _cpu(processes: Sequence[Measured]) -> float:
    return sum(map(cpu_seconds, processes))
