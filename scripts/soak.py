"""A connected user, one TCP connection, and one failure after another: nothing may be lost, nothing may grow.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    a TCP connection, every byte verified                  sends everything back

Failures are drawn with a seed, which is printed. Each line says what happened, and how long the connection
stood still afterwards. What a process holds before it is killed, or at the end, is compared with what it held
once it had settled: few live to see the end, and what the others leak counts too. Then the state of both
machines is compared with that from before they were connected. The tables are Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from nconnect.demo import outages
from nconnect.demo.lab import Lab, Party
from nconnect.demo.longflow import LongFlow
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.demo.tunnel import connect
from nconnect.errors import NconnectError
from nconnect.places import Places
from nconnect.tunnel import asking
from nconnect.tunnel.status import decode
from scripts.command import INTERRUPTED, end_like_interrupt
from tests.e2e.timeline import RecordedLab

PATIENCE = 90.0
"""Seconds after which a connection that does not go on counts as lost. On a machine at rest it goes on within
3 s of what happened; beside other work TCP's own timer may have doubled to 30 s in the meantime."""
REST = (0.5, 3.0)
"""Seconds between two failures, at least and at most."""
NODES = 4
MAX_MOVES = 60
"""How many networks the lab's address space has for the user's machine to move to."""
SETTLE = 15.0
"""Seconds after a failure in which sessions that nobody answers any more may end, and a new process may reach
all of its nodes."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at a process that may still settle; each look runs some commands."""

EVENTS = 60
"""That are shown of the end of what happened, if something is not as it should be."""

RULE_PRIORITY = "5200"


@dataclass(frozen=True)
class Held:
    """What one side holds of its machine."""

    memory: int
    """MiB that are resident."""
    files: int
    """Open ones, with sockets."""
    tasks: int
    """Of the event loop."""
    rules: int
    """Lines of nftables, and of the routing rules."""
    routes: int
    """Lines of all tables of both IP versions."""


SLACK = Held(memory=32, files=8, tasks=12, rules=0, routes=0)
"""By how much a process may hold more of each: sessions that are about to end, and their buffers. One that
never lets go of what it makes for each failure is beyond it after a dozen of them."""
UNITS = {"memory": " MiB"}


@dataclass(frozen=True)
class Look:
    """At a process: what it holds now, and what it held once it had settled."""

    name: str
    """`serve` or `up`: the side."""
    first: Held
    """Rules and routes are those of the side's first process: they stay the same from process to process."""
    now: Held
    failures: int
    """That it lived through in between."""

    def growth(self, what: str) -> int:
        """By how much it holds more; of rules and routes, which are to stay, also by how much less."""
        change: int = getattr(self.now, what) - getattr(self.first, what)
        return abs(change) if what in ("rules", "routes") else max(change, 0)

    def words(self, what: str) -> str:
        """As in `70 → 71 MiB`."""
        return f"{getattr(self.first, what)} → {getattr(self.now, what)}{UNITS.get(what, '')}"


class Side:
    """The processes of one side, one after the other, and the looks at them."""

    def __init__(self, name: str) -> None:
        self.looks: list[Look] = []
        self._name = name
        self._first: Held | None = None
        self._failures = 0

    @property
    def is_new(self) -> bool:
        """Nothing is known of the process that runs."""
        return self._first is None

    def look(self, now: Held) -> Look:
        """At the process that runs, to be kept or not."""
        first = self._first or now
        if self.looks:
            always = self.looks[0].first
            first = replace(first, rules=always.rules, routes=always.routes)
        return Look(self._name, first, now, self._failures)

    def keep(self, look: Look) -> None:
        """It counts; the first one of a process is what later ones are compared with."""
        self._first = look.first
        self.looks.append(look)

    def failed(self) -> None:
        """Something has happened; a process that is new since then has not lived through it."""
        if self._first is not None:
            self._failures += 1

    def ends(self) -> None:
        """The process is about to be killed."""
        self._first, self._failures = None, 0


class Soak:
    """The lab, what runs in it, and what may happen to it."""

    def __init__(self, lab: Lab, choice: random.Random) -> None:
        self._lab = lab
        self._choice = choice
        self._moves = 0
        self.sides = {Party.PROVIDER: Side("serve"), Party.USER: Side("up")}
        self.failures: dict[str, Callable[[], Awaitable[None]]] = {
            "a node dies": self._node_dies,
            "a node falls silent": self._node_falls_silent,
            "all nodes are restarted": self._nodes_restart,
            "the provider is killed": self._provider_killed,
            "the user's side is killed": self._user_killed,
            "the user changes networks": self._user_moves,
            "the user sleeps": self._user_sleeps,
            "the user's nftables are flushed": self._nftables_flushed,
            "the user's routes are removed": self._routes_removed,
            "the user's rules are removed": self._rules_removed,
        }

    async def start(self) -> None:
        """Connect, and open the connection that is to last."""
        self.tunnel = await connect(self._lab)
        self._flow = await LongFlow.start(self._lab)

    async def fail(self, name: str) -> float:
        """Make it happen; the seconds from then on until another block has come back."""
        await self.failures[name]()
        start = time.monotonic()
        await self._flow.goes_on(PATIENCE)
        for side in self.sides.values():
            side.failed()
        return time.monotonic() - start

    @property
    def blocks(self) -> int:
        """What the connection has carried."""
        return self._flow.blocks

    @property
    def looks(self) -> list[Look]:
        """All that count."""
        return [look for side in self.sides.values() for look in side.looks]

    async def look_at_new(self) -> None:
        """Take what the processes hold of which nothing is known yet."""
        for party, side in self.sides.items():
            if side.is_new:
                await self.look(party)

    async def look(self, party: Party) -> None:
        """Take what the side's process holds; for a while it may still let go of what is too much."""
        side, process = self.sides[party], self.tunnel.serve if party is Party.PROVIDER else self.tunnel.up
        deadline = time.monotonic() + SETTLE
        while True:
            settled = not side.is_new or await is_at_its_nodes(self._lab, party, process)
            look = side.look(await held(self._lab, party, process))
            if (settled and not grown([look])) or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_AGAIN)
        side.keep(look)

    async def left_behind(self) -> str:
        """Stop both sides: what differs from before they began, as a diff."""
        await self.tunnel.up.stop()
        await self.tunnel.serve.stop()
        left = ""
        for party, before in self.tunnel.before.items():
            # The user's own interface and addresses have changed, by what happened.
            now, then = (without_network(text) for text in (await host_state(self._lab, party), before))
            left += difference(then, now)
        return left

    # What may happen

    async def _node_dies(self, *, silent: bool = False) -> None:
        await outages.kill_node(self._lab, self._choice.randrange(NODES), silent=silent)
        await asyncio.sleep(self._choice.uniform(0.5, 4.0))
        await outages.revive_nodes(self._lab)

    async def _node_falls_silent(self) -> None:
        await self._node_dies(silent=True)

    async def _nodes_restart(self) -> None:
        await outages.restart_devnet(self.tunnel, self._choice.uniform(0.2, 5.0))

    async def _last_look(self, party: Party) -> None:
        await self.look(party)
        self.sides[party].ends()

    async def _provider_killed(self) -> None:
        await self._last_look(Party.PROVIDER)
        await outages.restart_serve(self.tunnel)

    async def _user_killed(self) -> None:
        await self._last_look(Party.USER)
        self.tunnel.up.kill()
        await self.tunnel.start_up()

    async def _user_moves(self) -> None:
        if self._moves < MAX_MOVES:
            self._moves += 1
            await outages.change_address(self._lab, self._moves)

    async def _user_sleeps(self) -> None:
        await outages.suspend(self.tunnel.up, self._choice.uniform(1.0, 20.0))

    async def _nftables_flushed(self) -> None:
        # Not the provider's, where NAT is: a flush there may cost connections, as on every router.
        await self._lab.run(Party.USER, ["nft", "flush", "ruleset"])

    async def _routes_removed(self) -> None:
        rules = (await self._lab.run(Party.USER, ["ip", "rule", "show", "priority", RULE_PRIORITY])).stdout
        for table in re.findall(r"lookup (\d+)", rules):
            await self._lab.run(Party.USER, ["ip", "route", "flush", "table", table], check=False)

    async def _rules_removed(self) -> None:
        for version in ("-4", "-6"):
            delete = ["ip", version, "rule", "delete", "priority", RULE_PRIORITY]
            await self._lab.run(Party.USER, delete, check=False)


async def held(lab: Lab, party: Party, process: Process) -> Held:
    """What the process and its machine hold now; NconnectError if it has ended."""
    answer = await ask(lab, party, process, "tasks")
    proc = Path(f"/proc/{process.pid}")
    resident = int(proc.joinpath("statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Held(
        memory=resident >> 20,
        files=len(list(proc.joinpath("fd").iterdir())),
        tasks=msgspec.json.decode(answer, type=dict[str, int])["tasks"],
        # Sets that packets fill tell what users do, not what we left.
        rules=await lines(
            lab, party, r"nft list ruleset | sed '/flags dynamic/,/^\t}/d'; ip -4 rule; ip -6 rule"
        ),
        routes=await lines(lab, party, "ip -4 route show table all; ip -6 route show table all"),
    )


async def is_at_its_nodes(lab: Lab, party: Party, process: Process) -> bool:
    """Whether all of its paths are there."""
    status = decode(await ask(lab, party, process, "status"))
    return all(path.state == "ready" for path in status.paths)


async def ask(lab: Lab, party: Party, process: Process, request: str) -> bytes:
    """What the process answers on its control socket."""
    home = lab.directory / party
    places = Places(config=home / "config.toml", state=home / "state", runtime=home / "run")
    return await asyncio.to_thread(asking.ask, places, process.name, request)


async def lines(lab: Lab, party: Party, script: str) -> int:
    """How many lines a script prints there."""
    return (await lab.run(party, ["sh", "-e", "-c", script])).stdout.count("\n")


def without_network(state: str) -> str:
    """A host's state without what a change of networks changes: the interface wan0 and all that names it."""
    kept, ours = [], True
    for line in state.splitlines():
        if line[:1].isdigit() or line.startswith("#"):
            ours = not re.match(r"\d+: wan\d", line)
        if ours and not re.search(r"\bwan\d|198\.51\.100\.", line):
            kept.append(re.sub(r"^\d+: ", "", line))
    return "\n".join(kept)


def grown(looks: Sequence[Look]) -> list[str]:
    """What is more than it may be, a line for each side and thing: of the process that grew most."""
    return [
        f"{name} held {most.words(what)} {what}, having lived through {most.failures} failures"
        for name, what, most in worst(looks)
        if most.growth(what) > getattr(SLACK, what)
    ]


def worst(looks: Sequence[Look]) -> list[tuple[str, str, Look]]:
    """For each side and thing the look at what had grown most; of equal ones that after most failures."""

    def most(name: str, what: str) -> Look:
        ours = (look for look in looks if look.name == name)
        return max(ours, key=lambda look: (look.growth(what), look.failures))

    names = dict.fromkeys(look.name for look in looks)
    return [(name, what, most(name, what)) for name in names for what in Held.__annotations__]


def stall_table(stalls: Mapping[str, Sequence[float]]) -> list[str]:
    """How long the connection stood still after each kind of failure."""
    rows = [*sorted(stalls.items()), ("all of it", [one for some in stalls.values() for one in some])]
    return [
        "| what happened | times | stood still, median | longest |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {len(seconds)} | {statistics.median(seconds):.2f} s | {max(seconds):.2f} s |"
            for name, seconds in rows
            if seconds
        ),
    ]


def held_table(looks: Sequence[Look]) -> list[str]:
    """What the process held that grew most: once it had settled, and at last."""
    cells: dict[str, list[str]] = {}
    for name, what, most in worst(looks):
        cells.setdefault(name, []).append(f"{most.words(what)} ({most.failures})")
    return [
        "| held, at first → at last (failures between)"
        " | memory | open files | tasks | lines of rules | lines of routes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(f"| `{name}` | {' | '.join(row)} |" for name, row in cells.items()),
    ]


def last_events(lab: RecordedLab) -> list[str]:
    """The end of what happened, for whoever has to understand it."""
    return ["what happened at last:", *lab.events()[-EVENTS:]]


async def soak(minutes: float, seed: int) -> int:
    """Make things fail for so long; the exit code."""
    choice = random.Random(seed)
    stalls: dict[str, list[float]] = {}
    name = "the start"
    print(f"seed {seed}, {minutes:g} minutes", flush=True)
    async with RecordedLab.create() as lab:
        run = Soak(lab, choice)
        try:
            await run.start()
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                await asyncio.sleep(choice.uniform(*REST))
                await run.look_at_new()
                name = choice.choice(list(run.failures))
                lab.note("soak", name)
                stall = await run.fail(name)
                stalls.setdefault(name, []).append(stall)
                print(f"{time.strftime('%H:%M:%S')}  {name:<28} {stall:6.2f} s", flush=True)
            await asyncio.sleep(SETTLE)
            for party in run.sides:
                await run.look(party)
            blocks = run.blocks
            left = await run.left_behind()
        except NconnectError as error:
            said = {process.name: f"{process.name} said:\n{process.tail()}" for process in lab.processes}
            print(
                "",
                *said.values(),
                "",
                *last_events(lab),
                "",
                f"NOT OK after {name}, with --seed {seed}: {error}",
                sep="\n",
            )
            return 1
    print("", *stall_table(stalls), "", *held_table(run.looks), "", sep="\n")
    print(f"One TCP connection carried {blocks:,} blocks of 16 KiB each way through all of it; seed {seed}.")
    problems = [*grown(run.looks), *([f"left behind:\n{left}"] if left else [])]
    for problem in problems:
        print(f"NOT OK: {problem}")
    if problems:
        print("", *last_events(lab), sep="\n")
    return 1 if problems else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="how long things fail [default: 3]")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="of the failures drawn"
    )
    options = parser.parse_args()
    end_like_interrupt()
    try:
        code = asyncio.run(soak(options.minutes, options.seed))
    except NconnectError as error:
        sys.exit(f"scripts/soak: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    sys.exit(code)


if __name__ == "__main__":
    main()
