"""The lab in containers: systemd-nspawn with systemd as each machine's first process.

::

       user              relay             provider           inference
     wan0 .30          wan0 .10           wan0 .20  lan0 .10  lan0 .20
        └────── 203.0.113.0/24 ──────────────┘        └─ 192.168.56.0/24
                bridge `internet`                        bridge `lan`

`scripts/lab/run` starts this in network, mount and process namespaces of its own: the bridges, the mounts and
the containers end with it. Each boot gives a container a new network namespace, as a real boot does with what
the kernel holds; files stay, for the upper directory of the machine's overlayfs does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nconnect.demo.process import execute
from nconnect.errors import NconnectError
from scripts.lab.depth import Machine
from scripts.lab.systemd import ADDRESSES, LAN_LINK, SHELL, SystemdDepth

BOOT_SECONDS = 60.0
# systemd gives what does not end 90 s.
SHUTDOWN_SECONDS = 120.0
POLL_SECONDS = 0.02
REBOOT_CODE = 133
"""What systemd-nspawn ends with, under --keep-unit, when the container rebooted."""
SYSTEMD = "/run/systemd"
TUN = Path("/dev/net/tun")
REPOSITORY = Path(__file__).parents[2]


class Nspawn(SystemdDepth):
    """Containers, in the namespaces that this process runs in."""

    title = "four containers with systemd, systemd-nspawn"
    name = "inference.provider.nc"

    def __init__(self, directory: Path, root: str, wheels: Path, cgroup: str) -> None:
        self._directory = directory
        self._root = root
        self._wheels = wheels
        self._cgroups = cgroup_directories(cgroup)
        self._tun_number = TUN.stat().st_rdev
        self._supervisors: dict[Machine, asyncio.subprocess.Process] = {}
        self._leaders: dict[Machine, int] = {}

    async def __aenter__(self) -> None:
        await execute(["ip", "link", "set", "lo", "up"], seconds=5)
        for bridge in ("internet", "lan"):
            await execute(["ip", "link", "add", bridge, "up", "type", "bridge"], seconds=5)
        # Where systemd-nspawn keeps its own; ours shall be gone with the mount namespace.
        await execute(["mkdir", "-p", SYSTEMD], seconds=5)
        await execute(["mount", "-t", "tmpfs", "tmpfs", SYSTEMD], seconds=5)
        for machine in Machine:
            await self._make(machine)
        await asyncio.gather(*map(self._boot, Machine))
        for machine in Machine:
            await self.provision(machine)

    async def __aexit__(self, *error: object) -> None:
        for machine in Machine:
            await self._power_off(machine)
        for machine in Machine:
            await execute(["umount", str(self._place(machine))], seconds=10)

    async def _make(self, machine: Machine) -> None:
        """The machine's disk, with its name and addresses."""
        place = self._place(machine)
        for name in ("root", "upper", "work"):
            (place.parent / name).mkdir(parents=True)
        layers = f"lowerdir={self._root},upperdir={place.parent / 'upper'},workdir={place.parent / 'work'}"
        # Without, each shutdown would wait until this machine has written all that it has to write.
        layers += ",volatile"
        await execute(["mount", "-t", "overlay", "overlay", "-o", layers, str(place)], seconds=10)
        # Not this machine's own node, which only root may open where no udev says otherwise.
        os.mknod(self._tun(machine), stat.S_IFCHR, self._tun_number)
        self._tun(machine).chmod(0o666)
        (place / "etc/hostname").write_text(f"{machine}\n")
        for link, address in ADDRESSES[machine].items():
            resolver = f"DNS={self.relay}\n" if machine is Machine.USER else ""
            (place / f"etc/systemd/network/{link}.network").write_text(
                f"[Match]\nName={link}\n"
                f"[Network]\nAddress={address}/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n{resolver}"
            )

    async def _boot(self, machine: Machine) -> None:
        """Switch it on; returns when commands can be run in it."""
        place = self._place(machine)
        links = {f"{machine}-{link}": link for link in ADDRESSES[machine]}
        binds = [f"{REPOSITORY}:/srv/nconnect", f"{self._wheels}:/srv/wheels"]
        identity = self._directory / "machines" / machine
        if identity.exists():
            binds.append(f"{identity}:/srv/lab")
        nspawn = [
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={place}", f"--machine={machine}"),
            # Neither systemd nor machined of this machine need to run, or to know of it.
            *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--console=passive"),
            *(f"--bind-ro={bind}" for bind in binds),
            f"--bind={self._tun(machine)}:{TUN}",
            *(f"--network-veth-extra={outside}:{link}" for outside, link in links.items()),
        ]
        cgroups = [directory / machine for directory in self._cgroups]
        for directory in cgroups:
            directory.mkdir(parents=True, exist_ok=True)
        # A cgroup of its own, before the first process: in one, two systemds would end each other's services.
        enter = "\n".join(f"echo 0 >{directory}/cgroup.procs" for directory in cgroups)
        with (place.parent / "console").open("ab") as console:
            supervisor = await asyncio.create_subprocess_exec(
                *("sh", "-e", "-c", f'{enter}\nexec "$@"', "sh", *nspawn),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )
        self._supervisors[machine] = supervisor
        try:
            async with asyncio.timeout(BOOT_SECONDS):
                await self._connect(machine, list(links))
        except TimeoutError:
            console_text = (place.parent / "console").read_text(errors="replace")
            raise NconnectError(f"{machine} does not boot:\n{console_text}") from None

    async def _connect(self, machine: Machine, links: Sequence[str]) -> None:
        """Plug its cables in, as soon as it has them, and wait for its systemd."""
        for link in links:
            bridge = "lan" if link.endswith(LAN_LINK) else "internet"
            while (await execute(["ip", "link", "show", link], seconds=5, check=False)).returncode:
                self._check(machine)
                await asyncio.sleep(POLL_SECONDS)
            await execute(["ip", "link", "set", link, "master", bridge, "up"], seconds=5)
        while True:
            self._check(machine)
            pid = self._supervisors[machine].pid
            if inside := children(pid):
                self._leaders[machine] = inside[0]
                # Before systemd, the child is one that still prepares, outside the container.
                probe = "test -S /run/systemd/private && systemctl show --property Version"
                if (await self.run(machine, probe, check=False)).returncode == 0:
                    return
            await asyncio.sleep(POLL_SECONDS)

    def _check(self, machine: Machine) -> None:
        if (code := self._supervisors[machine].returncode) is not None:
            console = (self._place(machine).parent / "console").read_text(errors="replace")
            raise NconnectError(f"the container of {machine} ended with exit code {code}:\n{console}")

    async def run(
        self, machine: Machine, script: str, *, seconds: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        if (leader := self._leaders.get(machine)) is None:
            raise NconnectError(f"{machine} is off")
        enter = ["nsenter", "--all", f"--target={leader}"]
        return await execute([*enter, *SHELL, script], seconds=seconds, check=check)

    async def reboot(self, machine: Machine) -> None:
        # The command itself is ended by what it asks for.
        await self.run(machine, "systemctl reboot", check=False)
        del self._leaders[machine]
        code = await self._ended(machine)
        if code != REBOOT_CODE:
            raise NconnectError(f"{machine} did not reboot: its container ended with exit code {code}")
        await self._boot(machine)

    async def cut_power(self, machine: Machine) -> None:
        # The first process of its PID namespace: the kernel ends all others with it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leaders.pop(machine), signal.SIGKILL)
        await self._ended(machine)
        await self._boot(machine)

    async def _ended(self, machine: Machine) -> int:
        supervisor = self._supervisors[machine]
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                while supervisor.returncode is None:
                    continue_children()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise NconnectError(f"{machine} does not shut down:\n{await self.log(machine)}") from None
        return supervisor.returncode

    async def _power_off(self, machine: Machine) -> None:
        supervisor = self._supervisors.get(machine)
        if supervisor is None or supervisor.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leaders.get(machine, supervisor.pid), signal.SIGKILL)
        await self._ended(machine)

    def _place(self, machine: Machine) -> Path:
        """Where the machine's root file system is mounted."""
        return self._directory / machine / "root"

    def _tun(self, machine: Machine) -> Path:
        """The machine's device node for TUN."""
        return self._directory / machine / "tun"


def children(pid: int) -> list[int]:
    """The children of a process, oldest first."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def continue_children() -> None:
    """Let every nsenter go on that has stopped.

    A shutdown stops all processes before it ends them, and nsenter then stops itself as well. Its child would
    stay a zombie in the container, whose shutdown waits for it.
    """
    for child in children(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


def cgroup_directories(name: str) -> list[Path]:
    """Directories for a cgroup of that name below our own, in the hierarchies that systemd uses."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            root = Path("/sys/fs/cgroup/systemd")
        elif number == "0":
            unified = Path("/sys/fs/cgroup/unified")
            root = unified if unified.exists() else Path("/sys/fs/cgroup")
        else:
            continue
        found.append(root / path.lstrip("/") / name)
    return found
