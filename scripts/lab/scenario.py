"""What happens in the lab: one story for every depth.

::

    user ──── relay: nconnect devnet ──── provider ──── 192.168.56.0/24 ──── inference
    nconnect up                           nconnect serve                     a model server, a large file

``python -m scripts.lab.scenario DEPTH`` is what `scripts/lab/run` runs. It prints each event with its time;
where something does not hold, also the last lines of the logs of user and provider.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from nconnect.errors import NconnectError
from nconnect.names import listening
from scripts.lab.depth import Depth, Machine

CONNECT_SECONDS = 60.0
"""For a connection after a boot, times the depth's patience."""
ANSWER_SECONDS = 3.0
"""For an answer of the model server, or a connection to it, times the patience as well."""
DOWNLOAD_SECONDS = 300.0
POLL_SECONDS = 0.2
WATCHED = "table inet lab_names"
OUT = "type filter hook output priority 0"
WATCH = f"{WATCHED} {{ chain out {{ {OUT}; ip daddr {listening.NETWORK}0/24 counter; }}; }}"
"""Counts what is sent to resolvers of ours."""
PART = 0.08
"""Share of the download that arrives between one misfortune and the next."""


class Scenario:
    """The story, told as it happens."""

    def __init__(self, depth: Depth) -> None:
        self._depth = depth
        self._start = time.monotonic()
        self._attempts = 0
        """How often the download was begun, or gone on with."""
        self.url = f"http://{depth.inference}:8000/v1/models"

    def say(self, text: str) -> None:
        """An event, with the seconds since the beginning."""
        print(f"{time.monotonic() - self._start:7.1f} s  {text}", flush=True)

    async def run(self) -> None:
        """From machines with nconnect on them to machines as they were before it ran."""
        depth = self._depth
        self.say(f"installed: {depth.title}")
        for machine in (Machine.USER, Machine.PROVIDER):
            await depth.stop(machine)
        await self._unreachable()
        for machine in (Machine.PROVIDER, Machine.USER):
            await depth.start(machine)
        await self._reachable("services started")
        if self._depth.name:
            await self._split()
        async with self._download():
            await self._restart("restart of the provider's service", Machine.PROVIDER)
            await self._restart("restart of the user's service", Machine.USER)
            await self._misfortune("reboot of the provider", Machine.PROVIDER, power=True)
            await self._misfortune("reboot of the user", Machine.USER, power=True)
            await self._misfortune("power cut at the provider", Machine.PROVIDER, power=False)
            await self._misfortune("power cut at the user", Machine.USER, power=False)
        await self._nothing_left()
        await self._unreachable()
        if self._depth.name:
            await self._forgotten()

    async def _unreachable(self) -> None:
        """The LAN does not answer the user, whichever neighbour it takes for a router."""
        ways = await self._depth.ways()
        for way in ("", *ways):
            # A machine that has no link to the neighbour cannot even try.
            route = f"ip route add {self._depth.lan} via {way} 2>/dev/null || exit 7\n" if way else ""
            script = f"{route}curl -sS -m 3 {self.url}; code=$?\n"
            if way:
                script += f"ip route del {self._depth.lan} via {way}\n"
            done = await self._depth.run(Machine.USER, script + "exit $code", check=False)
            if done.returncode == 0:
                raise NconnectError(
                    f"the user reaches {self.url} without nconnect{way and ' by way of '}{way}"
                )
        self.say(f"without nconnect the user does not reach {self.url}, nor by way of {', '.join(ways)}")

    async def _reachable(self, since: str) -> None:
        """The model server answers the user; nobody helps."""
        start = time.monotonic()
        curl = f"curl -fsS -m {ANSWER_SECONDS * self._depth.patience:.0f} {self.url}"
        async with asyncio.timeout(CONNECT_SECONDS * self._depth.patience):
            while True:
                with contextlib.suppress(NconnectError):
                    done = await self._depth.run(Machine.USER, curl, check=False)
                    if done.returncode == 0:
                        break
                await asyncio.sleep(POLL_SECONDS)
        model = json.loads(done.stdout)["data"][0]["id"]
        self.say(f"{self.url}: {model}, {time.monotonic() - start:.1f} s after: {since}")
        if name := self._depth.name:
            # A moment after packets flow: systemd-resolved has to be told.
            await self._named(name, self._depth.inference)

    async def _named(self, name: str, wanted: str) -> None:
        """The user's programs know what the name means, or soon will."""
        found = ""
        try:
            async with asyncio.timeout(CONNECT_SECONDS * self._depth.patience):
                while found.split()[:1] != [wanted]:
                    await asyncio.sleep(POLL_SECONDS)
                    found = (await self._depth.run(Machine.USER, f"getent hosts {name}", check=False)).stdout
        except TimeoutError:
            raise NconnectError(f"{name} should be {wanted}, but is {found or 'unknown'}") from None
        self.say(f"{name} is {wanted}")

    async def _split(self) -> None:
        """Each name is asked of whom it belongs to: foreign ones never of us, the provider's only of us."""
        depth = self._depth
        await depth.run(Machine.USER, f"nft '{WATCH}'")
        before = await self._questions()
        await self._named(*depth.foreign)
        if await self._questions() != before:
            raise NconnectError(f"our resolver was asked for {depth.foreign[0]}")
        await self._named(depth.lan_name, depth.inference)
        if await self._questions() == before:
            raise NconnectError(f"our resolver was not asked for {depth.lan_name}")
        await depth.run(Machine.USER, f"nft delete {WATCHED}")
        asked = (await depth.run(Machine.RELAY, "journalctl -u lab-names -o cat")).stdout
        if depth.foreign[0] not in asked or depth.lan_name in asked:
            raise NconnectError(f"the user's own resolver was asked for other names than it should:\n{asked}")
        self.say(
            f"only we were asked for {depth.lan_name}, only the user's own resolver for {depth.foreign[0]}"
        )

    async def _questions(self) -> str:
        """How many packets went to resolvers of ours while `WATCH` counts."""
        counting = f"nft list {WATCHED} | grep -o 'packets [0-9]*'"
        return (await self._depth.run(Machine.USER, counting)).stdout

    async def _forgotten(self) -> None:
        """Without nconnect the provider's names mean nothing, and all others what they meant."""
        names = self._depth.name, self._depth.lan_name
        for name in names:
            done = await self._depth.run(Machine.USER, f"getent hosts {name}", check=False)
            if done.returncode == 0:
                raise NconnectError(f"the user still knows {done.stdout}")
        await self._named(*self._depth.foreign)
        self.say(f"without nconnect the user does not know {', '.join(names)}")

    @contextlib.asynccontextmanager
    async def _download(self) -> AsyncIterator[None]:
        """A download that the user goes on with whenever it broke off; at the end it is whole."""
        size = self._depth.megabytes << 20
        make = f"head -c {size} /dev/urandom >{self._depth.source}; sha256sum <{self._depth.source}"
        digest = await self._depth.run(Machine.INFERENCE, make, seconds=60)
        await self._depth.run(Machine.USER, f"rm -f {self._depth.target}")
        task = asyncio.create_task(self._fetch())
        try:
            yield
            async with asyncio.timeout(DOWNLOAD_SECONDS * self._depth.patience):
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        here = await self._depth.run(Machine.USER, f"sha256sum < {self._depth.target}", seconds=60)
        if here.stdout != digest.stdout or await self._received() != size:
            raise NconnectError(f"the download is not what was served: {await self._different_blocks()}")
        self.say(f"the download is whole: {size >> 20} MiB, SHA-256 as at the source")

    async def _different_blocks(self) -> str:
        """Which MiB of the download are others than those of the source."""
        blocks = []
        for machine, path in ((Machine.USER, self._depth.target), (Machine.INFERENCE, self._depth.source)):
            digests = await self._depth.run(machine, f"split -b 1M --filter=sha256sum {path}", seconds=60)
            blocks.append(digests.stdout.split("\n"))
        pairs = itertools.zip_longest(*blocks)
        return ", ".join(f"MiB {number}" for number, (one, other) in enumerate(pairs) if one != other)

    async def _fetch(self) -> None:
        """curl, until it has all; a reboot of the user ends it like everything else there."""
        url = f"http://{self._depth.inference}:8001/weights?rate={self._depth.rate}"
        # Less than 1 byte/s over so many seconds: the other side has gone.
        limits = (
            f"--connect-timeout {ANSWER_SECONDS * self._depth.patience:.0f} "
            f"--speed-limit 1 --speed-time {self._depth.silence}"
        )
        target = self._depth.target
        curl = f"curl -fsS -C $(stat -c %s {target} 2>/dev/null || echo 0) {limits} '{url}'"
        # A power cut leaves the size of a file and not what is in it, unless that is forced to the disk.
        keep = f"dd of={target} oflag=append,dsync conv=notrunc iflag=fullblock bs=256K status=none"
        # One at a time: what SSH has lost may go on for a while.
        fetch = f"flock -w 60 {target}.lock bash -o pipefail -c {shlex.quote(f'{curl} | {keep}')}"
        while True:
            with contextlib.suppress(NconnectError):
                start = await self._received()
                self._attempts += 1
                done = await self._depth.run(Machine.USER, fetch, seconds=DOWNLOAD_SECONDS, check=False)
                got = await self._received()
                if got > start:
                    self.say(f"    curl: {start >> 20} to {got >> 20} MiB, exit code {done.returncode}")
                if done.returncode == 0:
                    return
            await asyncio.sleep(POLL_SECONDS)

    async def _received(self) -> int:
        """Bytes of the download so far."""
        return int(
            (
                await self._depth.run(Machine.USER, f"stat -c %s {self._depth.target} 2>/dev/null || echo 0")
            ).stdout
        )

    async def _part(self) -> None:
        """Waits until a part of the download has arrived from now on."""
        start = None
        async with asyncio.timeout(CONNECT_SECONDS * self._depth.patience):
            while True:
                with contextlib.suppress(NconnectError):
                    now = await self._received()
                    start = now if start is None else start
                    if now > start + PART * (self._depth.megabytes << 20):
                        return
                await asyncio.sleep(POLL_SECONDS)

    async def _restart(self, title: str, machine: Machine) -> None:
        """In the middle of the download, which does not break off."""
        await self._part()
        attempts = self._attempts
        self.say(title)
        await self._depth.restart(machine)
        await self._reachable(title)
        await self._part()
        if self._attempts != attempts:
            raise NconnectError(f"{title}: the download broke off")

    async def _misfortune(self, title: str, machine: Machine, *, power: bool) -> None:
        """In the middle of the download; nconnect comes back with the machine, and the download goes on."""
        await self._part()
        if await self._received() >= self._depth.megabytes << 20:
            raise NconnectError("the download is over already; it must be larger, or slower")
        self.say(title)
        await (self._depth.reboot(machine) if power else self._depth.cut_power(machine))
        await self._reachable(title)

    async def _nothing_left(self) -> None:
        """After a stop user and provider are as they were at their boot, and no journal holds anything."""
        for machine in (Machine.USER, Machine.PROVIDER):
            await self._depth.stop(machine)
            if changes := await self._depth.changes(machine):
                raise NconnectError(f"{machine} is not as it was before nconnect:\n{changes}")
            self.say(f"{machine}: addresses, routes, rules, nftables and sysctls are as before nconnect")

    async def explain(self) -> None:
        """The logs of the two who should have understood each other."""
        for machine in (Machine.USER, Machine.PROVIDER):
            print(f"\n--- {machine}\n{await self._depth.log(machine)}", flush=True)


async def play(depth: Depth) -> None:
    """Make the machines, run the scenario, remove the machines."""
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C does the same by itself.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    start = time.monotonic()
    async with depth:
        scenario = Scenario(depth)
        scenario.say(f"machines and nconnect are there after {time.monotonic() - start:.1f} s")
        try:
            await scenario.run()
        except (NconnectError, TimeoutError):
            await scenario.explain()
            raise
    print(f"the lab held in {time.monotonic() - start:.0f} s", flush=True)


def main() -> int:
    """Exit code 0 if everything held, 1 if not."""
    parser = argparse.ArgumentParser(prog="scripts.lab.scenario")
    depths = parser.add_subparsers(dest="depth", required=True)
    depths.add_parser("namespaces")
    nspawn = depths.add_parser("nspawn")
    nspawn.add_argument("--directory", type=Path, required=True)
    nspawn.add_argument("--root", required=True)
    nspawn.add_argument("--wheels", type=Path, required=True)
    nspawn.add_argument("--cgroup", required=True)
    vagrant = depths.add_parser("vagrant")
    vagrant.add_argument("--directory", type=Path, required=True)
    options = parser.parse_args()
    depth: Depth
    if options.depth == "namespaces":
        from scripts.lab.namespaces import Namespaces

        depth = Namespaces()
    elif options.depth == "vagrant":
        from scripts.lab.vagrant import Vagrant

        depth = Vagrant(options.directory)
    else:
        from scripts.lab.nspawn import Nspawn

        depth = Nspawn(options.directory, options.root, options.wheels, options.cgroup)
    try:
        asyncio.run(play(depth))
    except (NconnectError, TimeoutError) as error:
        print(f"the lab did not hold: {str(error) or 'something took too long'}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
