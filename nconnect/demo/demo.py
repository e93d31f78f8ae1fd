"""`nconnect demo`: the whole way on one machine, with the real commands and a real client.

A server that only the provider's LAN can reach is asked by a user who has nothing but the provider's
public key. Each step is a process of its own in the namespace of its party, as a person would start it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import msgspec
from rich.console import Console

from nconnect.demo import steps
from nconnect.demo.lab import (
    LAN,
    LAN_HOST,
    RUN_SECONDS,
    Lab,
    Party,
    remove_labs,
)
from nconnect.demo.services import EMBEDDINGS, LANGUAGE_MODEL, EmbeddingReport, Service, StreamReport
from nconnect.demo.show import Story, short
from nconnect.demo.snapshot import difference, host_state
from nconnect.errors import NconnectError, UsageError
from nconnect.tunnel.status import UpStatus

# How long the LAN's address may keep silent before it counts as unreachable.
UNREACHABLE_SECONDS = 1
PINGS = 10
END_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class DemoOptions:
    """What `nconnect demo` was asked for."""

    keep: bool = False
    """Leave it running, and say what to try."""
    remove: bool = False
    """Only remove what --keep left running."""
    llm: bool = False
    """A language model that streams tokens, instead of embeddings."""


@dataclass(frozen=True)
class Figures:
    """What the table at the end is made of."""

    connect_seconds: float
    ping_ms: str
    status: UpStatus
    answers: tuple[tuple[str, str], ...]


async def run_demo(options: DemoOptions) -> int:
    """Run the demo, printing to standard output; the exit code.

    Raises:
        NconnectError: a step failed; everything has been removed again.
    """
    story = Story(Console(highlight=False))
    if options.remove:
        removed = remove_labs(kept=True)
        story.say(f"removed {len(removed)} lab{'' if len(removed) == 1 else 's'}")
        return 0
    service = LANGUAGE_MODEL if options.llm else EMBEDDINGS
    _require_packages(service)
    with _ended_by_signal() as ended_by:
        try:
            await _tell(story, service, keep=options.keep)
        except asyncio.CancelledError:
            if not ended_by:
                raise
            story.say(f"ended by {ended_by[0].name}; everything is removed again")
            # What a shell says of a process that a signal ended.
            return 128 + ended_by[0]
    return 0


async def _tell(story: Story, service: Service, *, keep: bool) -> None:
    story.say("One machine plays four, in network namespaces; nothing outside them is touched.")
    story.say()
    story.say(f"  user ──── internet: the NKN devnet ──── provider ──── lan {LAN}: {LAN_HOST}")
    story.say()
    with story.step("here", "network namespaces and the links between them") as step:
        made = Lab.create()
        step.result = f"nc-{made.identifier}-{{{','.join(Party)}}}"
    async with made:
        figures = await Demo(made, story, service).run(keep=keep)
        story.say()
        story.table(_rows(figures))
        if keep:
            made.keep()
            _say_what_to_try(story, made, service)


class Demo:
    """The steps, in their order."""

    def __init__(self, lab: Lab, story: Story, service: Service) -> None:
        self._lab = lab
        self._story = story
        self._service = service

    async def run(self, *, keep: bool) -> Figures:
        """From the server's start to the user's farewell."""
        await self._start_server()
        await self._start_devnet()
        await self._show_unreachable()
        before = await host_state(self._lab, Party.USER)
        key = await self._user_key()
        address = await self._serve(key)
        seconds = await self._up(address)
        ping = await self._ping()
        answers = await (self._stream_tokens() if self._service is LANGUAGE_MODEL else self._embed())
        status = await self._status()
        if not keep:
            await self._down(before)
        return Figures(seconds, ping, status, answers)

    async def _start_server(self) -> None:
        service = self._service
        with self._story.step("lan", service.title) as step:
            arguments = ["-m", service.server, "--host", LAN_HOST, "--port", str(service.port)]
            process = self._lab.start(Party.LAN, [sys.executable, *arguments], name="server")
            await process.wait_for("^serving ", steps.START_SECONDS)
            step.result = service.url

    async def _start_devnet(self) -> None:
        with self._story.step("internet", f"nconnect {' '.join(steps.devnet_arguments())}") as step:
            await steps.start_devnet(self._lab)
            step.result = "an NKN network"

    async def _show_unreachable(self) -> None:
        with self._story.step("user", f"ping {LAN_HOST}, without the tunnel") as step:
            ping = ["ping", "-c", "1", "-W", str(UNREACHABLE_SECONDS), LAN_HOST]
            if (await self._lab.run(Party.USER, ping, check=False)).returncode == 0:
                raise NconnectError(f"the user reaches {LAN_HOST} without a tunnel; this would prove nothing")
            step.result = "no answer, as it should be"

    async def _user_key(self) -> str:
        with self._story.step("user", "nconnect id") as step:
            key = await steps.public_key(self._lab, Party.USER)
            step.result = short(key)
        return key

    async def _serve(self, key: str) -> str:
        with self._story.step("provider", f"nconnect serve --lan {LAN} --allow {short(key)}") as step:
            _, address = await steps.start_serve(self._lab, allow=[key])
            step.result = f"at {short(address)}"
        return address

    async def _up(self, address: str) -> float:
        with self._story.step("user", f"nconnect up --peer {short(address)}") as step:
            await steps.start_up(self._lab, address)
            step.result = "connected"
        return step.seconds

    async def _ping(self) -> str:
        with self._story.step("user", f"ping {LAN_HOST}, through the tunnel") as step:
            ping = ["ping", "-q", "-c", str(PINGS), "-i", "0.05", "-W", "2", LAN_HOST]
            output = (await self._lab.run(Party.USER, ping)).stdout
            match = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)", output)
            if not match:
                raise NconnectError(f"ping printed no times:\n{output.strip()}")
            minimum, average, maximum = match.groups()
            step.result = f"{average} ms"
        return f"{average} ms (min {minimum}, max {maximum})"

    async def _embed(self) -> tuple[tuple[str, str], ...]:
        client, report = self._client(Party.USER)
        title = f"a real client, through the tunnel: openai.OpenAI(base_url={self._service.url!r})"
        with self._story.step(Party.USER, title):
            done = await self._lab.run(Party.USER, client)
        self._story.quote(done.stdout)
        answer = msgspec.json.decode(report.read_bytes(), type=EmbeddingReport)
        if answer.peer != LAN_HOST:
            raise NconnectError(f"the answer came from {answer.peer}, not from {LAN_HOST}")
        return (
            ("answer", f"from {answer.peer} in {answer.seconds * 1000:.0f} ms"),
            ("nearest sentence", answer.nearest),
        )

    async def _stream_tokens(self) -> tuple[tuple[str, str], ...]:
        rows = []
        for party, how in ((Party.PROVIDER, "without"), (Party.USER, "through")):
            client, report = self._client(party)
            title = f"a real client, {how} the tunnel: openai.OpenAI(base_url={self._service.url!r})"
            self._story.announce(party, title)
            process = self._lab.start(party, client, name="client")
            async for text in process.follow(RUN_SECONDS):
                self._story.quote(text)
            timing = msgspec.json.decode(report.read_bytes(), type=StreamReport)
            rows.append(
                (
                    f"first token {how} the tunnel",
                    f"{timing.first * 1000:.0f} ms, then {timing.tokens / timing.total:.0f} tokens/s",
                )
            )
        return tuple(rows)

    def _client(self, party: Party) -> tuple[list[str], Path]:
        """The command line of the service's client, and the file that it will write its report to."""
        report = self._lab.directory / party / "report.json"
        arguments = ["-m", self._service.client, "--base-url", self._service.url, "--report", str(report)]
        return [sys.executable, *arguments], report

    async def _status(self) -> UpStatus:
        with self._story.step("user", "nconnect status --json") as step:
            status = await steps.up_status(self._lab)
            step.result = status.state
        return status

    async def _down(self, before: str) -> None:
        with self._story.step("user", "nconnect down") as step:
            await self._lab.run_nconnect(Party.USER, "down")
            if changed := difference(before, await host_state(self._lab, Party.USER)):
                raise NconnectError(f"`nconnect down` left something behind:\n{changed}")
            step.result = "addresses, routes, rules, nftables and sysctls are as before"


def _rows(figures: Figures) -> list[tuple[str, str]]:
    status = figures.status
    ready = [path.node for path in status.paths if path.state == "ready"]
    nodes = ", ".join(sorted(set(ready)))
    return [
        ("time to connect", f"{figures.connect_seconds:.2f} s"),
        ("ping through the tunnel", figures.ping_ms),
        *figures.answers,
        ("bytes", f"{status.bytes_in:,} in, {status.bytes_out:,} out"),
        ("path", f"{len(ready)} websockets at once, by way of {nodes}"),
        ("keys", f"TLS 1.3, {status.key_exchange_group}"),
    ]


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[list[signal.Signals]]:
    """Ctrl-C cancels the demo's task anyway; so shall `kill`, and a terminal that goes away.

    Gives a list that holds the signal once one came.
    """
    received: list[signal.Signals] = []
    task = asyncio.current_task()
    assert task is not None

    def end(number: signal.Signals) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in END_SIGNALS:
        loop.add_signal_handler(number, end, number)
    try:
        yield received
    finally:
        for number in END_SIGNALS:
            loop.remove_signal_handler(number)


def _require_packages(service: Service) -> None:
    missing = [name for name in service.needs if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        raise UsageError(
            f"the demo needs {needed}: pip install 'nconnect[{service.extra}]', or run scripts/demo"
        )


def _say_what_to_try(story: Story, lab: Lab, service: Service) -> None:
    """Commands that work in a terminal of root."""
    enter = f"ip netns exec {lab.namespace(Party.USER)}"
    nconnect = "nconnect" if shutil.which("nconnect") else f"{shlex.quote(sys.executable)} -m nconnect"
    runtime = lab.environment(Party.USER)["NCONNECT_RUNTIME_DIR"]
    story.say("It is left running. As root, try:")
    for command in (
        f"{enter} curl {service.url}/models",
        f"{enter} ping -c 3 {LAN_HOST}",
        f"{enter} ip route",
        f"NCONNECT_RUNTIME_DIR={runtime} {nconnect} status",
        f"ls {lab.directory}/*/*.log",
    ):
        story.say(f"  {command}")
    story.say("and to remove it:")
    story.say(f"  {nconnect} demo --remove")
