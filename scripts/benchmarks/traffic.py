"""Traffic between parties of the lab, by iperf3, ping and programs of ours: what they print, as numbers."""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from nconnect.demo.lab import Lab, Party
from nconnect.demo.process import Process
from nconnect.demo.steps import START_SECONDS
from nconnect.errors import NconnectError
from scripts.benchmarks import programs

# Slow start, which is over by then, is not what a transfer is measured for.
OMIT_SECONDS = 1
OMIT = ("--omit", str(OMIT_SECONDS))
# For longer no user may begin so many connections.
MAX_HTTP_SECONDS = 4
# Beyond the time that a transfer takes by itself: the control connection at either end.
GRACE_SECONDS = 20.0
HTTP_PORT = 8080


async def start_servers(lab: Lab, party: Party) -> None:
    """Start what answers in a party; returns once it does."""
    iperf = lab.start(party, ["iperf3", "--server", "--forceflush"])
    http = lab.start(
        party, programs.command("http", "serve", HTTP_PORT), name="http", env=programs.ENVIRONMENT
    )
    await iperf.wait_for("^Server listening", START_SECONDS)
    await http.wait_for("^listening", START_SECONDS)


# --- ping ---

# What a ping that has not come back by the end of the run counts as.
LOST = math.inf


@dataclass(frozen=True)
class Pings:
    """The round trips of a run, in milliseconds, shortest first; a lost one is `LOST`."""

    times: tuple[float, ...]

    @property
    def median(self) -> float | None:
        return self.percentile(50)

    def percentile(self, percent: float) -> float | None:
        """The time that so many per cent do not exceed (nearest rank); None if that one was lost."""
        rank = max(1, math.ceil(len(self.times) * percent / 100))
        value = self.times[rank - 1]
        return None if value == LOST else value


def parse_pings(output: str) -> Pings:
    """What iputils' ping prints. NconnectError: it sent nothing."""
    summary = re.search(r"(\d+) packets transmitted", output)
    if summary is None or not int(summary[1]):
        raise NconnectError(f"ping sent nothing: {output.strip()[-200:]}")
    times = {number: float(time) for number, time in re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", output)}
    lost = max(0, int(summary[1]) - len(times))
    return Pings((*sorted(times.values()), *[LOST] * lost))


async def ping(lab: Lab, party: Party, host: str, seconds: float, interval: float = 0.02) -> Pings:
    """Ping a host for some time. The first packet, which looks up addresses, does not count."""
    await lab.run(party, ["ping", "-c", "1", "-W", "5", host])
    count = max(1, round(seconds / interval))
    command = ["ping", "-i", str(interval), "-c", str(count), "-W", "2", host]
    # ping's exit code is 1 if nothing came back, which the figures say.
    return parse_pings((await lab.run(party, command, check=False, seconds=seconds + GRACE_SECONDS)).stdout)


# --- iperf3 ---


@dataclass(frozen=True)
class Transfer:
    """One direction of TCP."""

    mbit: float
    """Mbit/s of payload that arrived, after the first `OMIT_SECONDS`."""
    gigabytes: float
    """All that was sent, in the first seconds too."""


def parse_iperf(text: str) -> dict[str, Any]:
    """What iperf3 -J prints. NconnectError: it says why there is nothing."""
    try:
        result: dict[str, Any] = json.loads(text)
    except ValueError:
        raise NconnectError(f"iperf3 printed no JSON: {text.strip()[-200:]}") from None
    if "error" in result:
        raise NconnectError(f"iperf3: {result['error']}")
    return result


def parse_transfer(text: str) -> Transfer:
    """A run of iperf3 -J with TCP in one direction. NconnectError: it sent nothing."""
    result = parse_iperf(text)
    sent = sum(interval["sum"]["bytes"] for interval in result["intervals"])
    if not sent:
        raise NconnectError("iperf3 sent nothing")
    return Transfer(result["end"]["sum_received"]["bits_per_second"] / 1e6, sent / 1e9)


async def iperf(lab: Lab, party: Party, host: str, seconds: int, *options: str) -> str:
    """What iperf3 prints of a transfer to or from `host`."""
    command = ["iperf3", "-J", "-c", host, "-t", str(seconds), *options]
    return (await lab.run(party, command, seconds=seconds + GRACE_SECONDS, check=False)).stdout


async def tcp(lab: Lab, party: Party, host: str, seconds: int, *options: str) -> Transfer:
    """TCP from `party` to `host`."""
    return parse_transfer(await iperf(lab, party, host, seconds, *OMIT, *options))


async def udp(lab: Lab, party: Party, host: str, seconds: int, size: int) -> float:
    """Bytes a second that arrived of datagrams of `size` bytes, as many as the sender can make."""
    # Not with OMIT: iperf3 counts what was lost in the omitted seconds, but not what was sent.
    options = ("--udp", "--bitrate", "0", "--length", str(size))
    received = parse_iperf(await iperf(lab, party, host, seconds, *options))["end"]["sum_received"]
    return float(received["bytes"]) / (received["seconds"] or 1)


async def both_ways(lab: Lab, party: Party, host: str, seconds: int) -> float:
    """Mbit/s of one TCP stream in each direction at the same time, together."""
    end = parse_iperf(await iperf(lab, party, host, seconds, *OMIT, "--bidir"))["end"]
    both = end["sum_received"], end["sum_received_bidir_reverse"]
    return float(sum(one["bits_per_second"] for one in both)) / 1e6


async def tcp_with_ping(
    lab: Lab, party: Party, host: str, seconds: int, *options: str
) -> tuple[Transfer, Pings]:
    """A transfer, and pings meanwhile, once slow start is over."""

    async def later() -> Pings:
        await asyncio.sleep(2 * OMIT_SECONDS)
        return await ping(lab, party, host, seconds - OMIT_SECONDS)

    transfer, pings = await asyncio.gather(tcp(lab, party, host, seconds, *options), later())
    return transfer, pings


# --- programs of ours ---


async def result(program: Process) -> dict[str, Any]:
    """The JSON that a program printed last, which is about to end. NconnectError: it failed."""
    if code := await program.wait(START_SECONDS):
        raise NconnectError(f"{program.name} ended with exit code {code}:\n{program.tail()}")
    answer: dict[str, Any] = json.loads(program.output().splitlines()[-1])
    return answer


async def http(lab: Lab, party: Party, host: str, seconds: int) -> float:
    """Short HTTP requests a second, each with a connection of its own."""
    seconds = min(seconds, MAX_HTTP_SECONDS)
    command = programs.command("http", "ask", host, HTTP_PORT, seconds)
    run = await lab.run(party, command, env=programs.ENVIRONMENT, seconds=seconds + GRACE_SECONDS)
    return float(run.stdout)
