"""The figures that everything between two hosts is measured by, the same way and in the same order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nconnect.demo.lab import Lab, Party
from scripts.benchmarks.processes import Measured, cpu_seconds, peak_memory
from scripts.benchmarks.traffic import both_ways, http, ping, tcp, tcp_with_ping, udp
from scripts.figures import Report

PING_SECONDS = 3.0
# Each still comes alone, and there are so many that their processor time can be told from nothing.
FREQUENT_PINGS = 0.003
SMALL = 64
# With 28 bytes of headers a packet of 1400, which WireGuard's MTU of 1420 does not split.
LARGE = 1372

# The rows that goals and plots ask for.
TCP_UP = "TCP up"
TCP_DOWN = "TCP down"
TCP_FOUR = "TCP up, 4 streams"
TCP_BOTH = "TCP both directions at once"
UDP_SMALL = f"UDP {SMALL} B delivered"
UDP_LARGE = "UDP 1400 B delivered"
PING_IDLE = "ping, idle"
PING_BUSY = "ping during TCP up, p95"
HTTP = "HTTP requests, a connection each"
CPU_PING = "CPU of all its processes, a ping there and back"
CPU_ALL = "CPU of all its processes, TCP up"
MEMORY = "peak memory of {}"


@dataclass(frozen=True)
class Subject:
    """Something that carries packets from a party to a host, and the processes that it is made of."""

    name: str
    lab: Lab
    near: Party
    host: str
    """Where what `start_servers` starts answers."""
    processes: Mapping[str, Measured]
    """By what they are called."""


async def run(report: Report, subject: Subject, seconds: int) -> None:
    """All rows of a subject."""
    lab, near, host = subject.lab, subject.near, subject.host

    def add(what: str, value: float | None, unit: str) -> None:
        report.add(subject.name, what, value, unit, compare=True)

    add(PING_IDLE, (await ping(lab, near, host, PING_SECONDS)).median, "ms")
    before = _cpu(subject)
    pings = await ping(lab, near, host, PING_SECONDS, FREQUENT_PINGS)
    if before:
        add(CPU_PING, 1e6 * sum(_since(subject, before).values()) / len(pings.times), "µs")
    before = _cpu(subject)
    up = await tcp(lab, near, host, seconds)
    used = _since(subject, before)
    add(TCP_UP, up.mbit, "Mbit/s")
    for name, value in used.items():
        add(f"CPU of {name}, TCP up", value / up.gigabytes, "s/GB")
    if used:
        add(CPU_ALL, sum(used.values()) / up.gigabytes, "s/GB")
    add(TCP_DOWN, (await tcp(lab, near, host, seconds, "--reverse")).mbit, "Mbit/s")
    add(TCP_FOUR, (await tcp(lab, near, host, seconds, "--parallel", "4")).mbit, "Mbit/s")
    add(TCP_BOTH, await both_ways(lab, near, host, seconds), "Mbit/s")
    _, pings = await tcp_with_ping(lab, near, host, seconds)
    add(PING_BUSY, pings.percentile(95), "ms")
    add(UDP_SMALL, await udp(lab, near, host, seconds, SMALL) / SMALL, "packets/s")
    add(UDP_LARGE, await udp(lab, near, host, seconds, LARGE) * 8 / 1e6, "Mbit/s")
    add(HTTP, await http(lab, near, host, seconds), "1/s")
    for name, process in subject.processes.items():
        add(MEMORY.format(name), peak_memory(process), "MB")


def _cpu(subject: Subject) -> dict[str, float]:
    return {name: cpu_seconds(process) for name, process in subject.processes.items()}


def _since(subject: Subject, before: Mapping[str, float]) -> dict[str, float]:
    return {name: cpu - before[name] for name, cpu in _cpu(subject).items()}
