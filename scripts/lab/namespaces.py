"""The lab in network namespaces: `nconnect demo`'s, with its processes for services.

A reboot is a stop and a start here, a power cut SIGKILL of all that runs in the namespace. What the kernel
holds (interfaces, rules, NAT) stays, which is what `nconnect` has to clear away.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, Lab, Party
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.errors import NconnectError
from scripts.lab.depth import Depth, Machine

PARTIES = {
    Machine.RELAY: Party.INTERNET,
    Machine.PROVIDER: Party.PROVIDER,
    Machine.INFERENCE: Party.LAN,
    Machine.USER: Party.USER,
}
DOWNLOADS = Path(__file__).with_name("downloads.py")


class Namespaces(Depth):
    """`nconnect demo`'s lab, where each machine is a network namespace."""

    title = "four network namespaces of this machine"
    lan = LAN
    inference = LAN_HOST
    relay = "198.51.100.1"

    _lab: Lab
    _key: str
    _address: str

    def __init__(self) -> None:
        self._before: dict[Machine, str] = {}
        self._services: dict[Machine, Process] = {}

    async def __aenter__(self) -> None:
        self._lab = Lab.create()
        try:
            await self._prepare()
        except BaseException:
            await self._lab.close()
            raise

    async def __aexit__(self, *error: object) -> None:
        await self._lab.close()

    async def _prepare(self) -> None:
        lab = self._lab
        self.source = str(lab.directory / Party.LAN / "downloads" / "weights")
        self.target = str(lab.directory / Party.USER / "weights")
        Path(self.source).parent.mkdir()
        for name, arguments, ready in (
            ("model", ["-m", "nconnect.demo.inference", "--host", LAN_HOST, "--port", "8000"], "^serving "),
            ("files", [str(DOWNLOADS), LAN_HOST, "8001", str(Path(self.source).parent)], "^serving "),
        ):
            process = lab.start(Party.LAN, [sys.executable, *arguments], name=name)
            await process.wait_for(ready, steps.START_SECONDS)
        await steps.start_devnet(lab)
        self._key = await steps.public_key(lab, Party.USER)
        self._address = await steps.public_key(lab, Party.PROVIDER)
        for machine in (Machine.PROVIDER, Machine.USER):
            self._before[machine] = await host_state(lab, PARTIES[machine])
            await self.start(machine)

    async def run(
        self, machine: Machine, script: str, *, seconds: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return await self._lab.run(PARTIES[machine], ["sh", "-c", script], seconds=seconds, check=check)

    async def start(self, machine: Machine) -> None:
        if machine is Machine.PROVIDER:
            process, _ = await steps.start_serve(self._lab, allow=[self._key])
        else:
            process = await steps.start_up(self._lab, self._address)
        self._services[machine] = process

    async def stop(self, machine: Machine) -> None:
        if code := await self._services.pop(machine).stop():
            raise NconnectError(f"nconnect in {machine} ended with exit code {code} after SIGTERM")

    async def restart(self, machine: Machine) -> None:
        # What the packaged units do.
        process = self._services.pop(machine)
        process.kill()
        await process.wait(steps.START_SECONDS)
        await self.start(machine)

    async def reboot(self, machine: Machine) -> None:
        await self.stop(machine)
        self._kill(machine)
        await self.start(machine)

    async def cut_power(self, machine: Machine) -> None:
        self._kill(machine)
        await self._services.pop(machine).wait(steps.START_SECONDS)
        await self.start(machine)

    def _kill(self, machine: Machine) -> None:
        for pid in self._lab.process_ids(PARTIES[machine]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def changes(self, machine: Machine) -> str:
        return difference(self._before[machine], await host_state(self._lab, PARTIES[machine]))

    async def log(self, machine: Machine) -> str:
        return "\n".join(
            f"{process.name}:\n{process.tail()}"
            for process in self._lab.processes
            if process.log.parent.name == PARTIES[machine]
        )
