"""The lab in virtual machines: Vagrant with libvirt.

::

       user              relay             provider           inference
     eth1 .30          eth1 .10          eth1 .20  eth2 .10  eth1 .20
        └────── 203.0.113.0/24 ──────────────┘        └─ 192.168.56.0/24
      eth0              eth0              eth0                eth0
        └─────────────────┴── management ───┴──────────────────┘
                  the host's SSH comes in there, and nothing else (common.sh)
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nconnect.demo.process import execute
from nconnect.errors import NconnectError
from scripts.lab.depth import Machine
from scripts.lab.systemd import SHELL, SystemdDepth

UP_SECONDS = 3600.0
BOOT_SECONDS = 600.0
POLL_SECONDS = 1.0
# A connection to a machine that is just going down hangs.
PROBE_SECONDS = 3.0
PREFIX = "nconnect-lab-"
"""Of libvirt's names of the machines, as the Vagrantfile says."""
# A connection that stays open for the next command, and no questions.
SSH_OPTIONS = (
    "-o",
    "ControlMaster=auto",
    "-o",
    "ControlPersist=30",
    "-o",
    "ConnectTimeout=5",
    # Of a machine whose power was cut nobody says goodbye.
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "BatchMode=yes",
)


class Vagrant(SystemdDepth):
    """Machines of the Vagrantfile; `vagrant` finds its own files by the environment."""

    title = "four virtual machines, Vagrant with libvirt"
    patience = 5.0
    # An emulated processor carries some 75 kB/s, and takes half a minute to start nconnect.
    megabytes = 24
    rate = 50_000
    silence = 120

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._config = directory / "ssh_config"

    async def __aenter__(self) -> None:
        try:
            done = await execute(["vagrant", "up", "--provider", "libvirt"], seconds=UP_SECONDS, check=False)
            log = self._directory.parent / "vagrant-up.log"
            await asyncio.to_thread(log.write_text, done.stdout + done.stderr)
            if done.returncode:
                # Without where in Vagrant it happened.
                lines = [line for line in done.stderr.splitlines() if ":in `" not in line]
                said = "\n".join(lines[-40:])
                raise NconnectError(f"vagrant up: exit code {done.returncode}; all of it is in {log}\n{said}")
            config = (await execute(["vagrant", "ssh-config"], seconds=60)).stdout
            await asyncio.to_thread(self._config.write_text, config)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *error: object) -> None:
        await execute(["vagrant", "destroy", "--force"], seconds=300)

    async def run(
        self, machine: Machine, script: str, *, seconds: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = shlex.join(["sudo", *SHELL, script])
        control = ("-o", f"ControlPath={self._directory}/ssh-%n")
        ssh = ["ssh", "-F", str(self._config), *SSH_OPTIONS, *control, machine, command]
        return await execute(ssh, seconds=seconds * self.patience, check=check)

    async def reboot(self, machine: Machine) -> None:
        before = await self._boot_id(machine)
        await self.run(machine, "systemctl reboot", check=False)
        await self._booted(machine, before)

    async def cut_power(self, machine: Machine) -> None:
        before = await self._boot_id(machine)
        for verb in ("destroy", "start"):
            await execute(["virsh", "--connect", "qemu:///system", verb, f"{PREFIX}{machine}"], seconds=60)
        await self._booted(machine, before)

    async def _boot_id(self, machine: Machine, seconds: float = 30.0) -> str:
        """Another one after each boot; empty if the machine does not answer."""
        read = await self.run(machine, "cat /proc/sys/kernel/random/boot_id", seconds=seconds, check=False)
        return read.stdout

    async def _booted(self, machine: Machine, before: str) -> None:
        async with asyncio.timeout(BOOT_SECONDS):
            while True:
                try:
                    if (await self._boot_id(machine, PROBE_SECONDS)) not in ("", before):
                        return
                except NconnectError:
                    # It hung on a connection to the machine that was.
                    pass
                await asyncio.sleep(POLL_SECONDS)

    async def ways(self) -> Sequence[str]:
        """The neighbours, and in the management network the host and the other machines."""
        ways = [*await super().ways()]
        route = await self.run(Machine.USER, "ip -4 route show default")
        ways += re.findall(r"via ([\d.]+) dev eth0", route.stdout)
        for machine in (Machine.RELAY, Machine.PROVIDER, Machine.INFERENCE):
            addresses = await self.run(machine, "ip -4 -brief address show eth0")
            ways += re.findall(r"([\d.]+)/", addresses.stdout)
        return ways
