"""1, 10 and 100 users of one gateway: what they get together, and what each costs.

Each user is an `nconnect up` in a namespace of its own, and all send to the LAN at the same time. They share
the cores with the relay, the gateway and the two ends of the streams; what 100 processes take of them for
being 100, a real gateway's users spend at home. So that starting them takes a minute and not ten, they are
forks of one process that has loaded everything (programs/users.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, Lab, Party
from nconnect.errors import NconnectError
from scripts.benchmarks import programs
from scripts.benchmarks.crowd import Crowd
from scripts.benchmarks.processes import Measured, cpu_seconds, resident
from scripts.benchmarks.traffic import GRACE_SECONDS, result
from scripts.figures import Report

SIZES = (1, 10, 100)
PORT = 5000
AGGREGATE = "TCP up, all together"
SLOWEST = "the slowest user's part of an equal share"
OF_ONE_USER = "all together, of what one user gets"


def subject(size: int) -> str:
    """What rows about so many users begin with."""
    return "1 user" if size == 1 else f"{size} users"


async def run(report: Report, seconds: int) -> None:
    """All rows of all sizes."""
    async with Lab.create() as lab, Crowd(lab, max(SIZES)) as crowd:
        relay = await steps.start_devnet(lab)
        keys = [key.public_key.hex() for key in crowd.keys]
        serve, address = await steps.start_serve(lab, lan=(LAN,), allow=(",".join(keys),))
        alone = 0.0
        for size in SIZES:
            await crowd.grow(size, address)
            together = await measure(report, lab, crowd, {"serve": serve, "the relay": relay}, seconds)
            alone = alone or together
            if size > 1:
                report.add(subject(size), OF_ONE_USER, 100 * together / alone, "%")


async def measure(
    report: Report, lab: Lab, crowd: Crowd, others: Mapping[str, Measured], seconds: int
) -> float:
    """The rows of the users that are connected now; Mbit/s of all of them together."""
    size = len(crowd.users)
    processes: dict[str, Sequence[Measured]] = {name: [process] for name, process in others.items()}
    processes["up"] = crowd.users
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
    for group, process in others.items():
        report.add(name, f"memory of {group}", resident(process), "MB")
    return mbit


def _cpu(processes: Sequence[Measured]) -> float:
    return sum(map(cpu_seconds, processes))
