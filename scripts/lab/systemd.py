"""What containers and virtual machines have in common: scripts that provision them, and systemd's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nconnect.errors import NconnectError
from scripts.lab.depth import Depth, Machine

LAN_LINK = "lan0"
ADDRESSES: Mapping[Machine, Mapping[str, str]] = {
    Machine.RELAY: {"wan0": Depth.relay},
    Machine.PROVIDER: {"wan0": "203.0.113.20", LAN_LINK: "192.168.56.10"},
    Machine.INFERENCE: {LAN_LINK: Depth.inference},
    Machine.USER: {"wan0": "203.0.113.30"},
}
"""Links and their addresses, each in a /24."""
UNITS = {Machine.PROVIDER: "nconnect-serve", Machine.USER: "nconnect@provider"}
PROVISION_SECONDS = 240.0
# Nothing of this machine's environment; ip and nft are in /usr/sbin.
SHELL = (
    "env",
    "-i",
    "HOME=/root",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "sh",
    "-c",
)


class SystemdDepth(Depth):
    """Machines whose services are units of systemd."""

    async def provision(self, machine: Machine) -> None:
        """Run the machine's script, as Vagrant does."""
        address = ADDRESSES[machine].get(LAN_LINK) or ADDRESSES[machine]["wan0"]
        script = f"/srv/nconnect/scripts/lab/{machine}.sh {address}"
        try:
            await self.run(machine, script, seconds=PROVISION_SECONDS)
        except NconnectError as error:
            raise NconnectError(f"{error}\n{await self.log(machine)}") from None

    async def start(self, machine: Machine) -> None:
        await self.run(machine, f"systemctl start {UNITS[machine]}", seconds=60)

    async def stop(self, machine: Machine) -> None:
        await self.run(machine, f"systemctl stop {UNITS[machine]}", seconds=60)

    async def restart(self, machine: Machine) -> None:
        await self.run(machine, f"systemctl restart {UNITS[machine]}", seconds=60)

    async def ways(self) -> Sequence[str]:
        """The relay and the provider are the user's neighbours."""
        return [self.relay, ADDRESSES[Machine.PROVIDER]["wan0"]]

    async def changes(self, machine: Machine) -> str:
        state = await self.run(machine, "/usr/local/lib/nconnect-lab/state --changed", check=False)
        journals = await self.run(machine, "find /var/lib/nconnect/journal -type f 2>/dev/null || true")
        return f"{state.stdout}{state.stderr}{journals.stdout}"
