"""What the scenario needs of its four machines, whatever they are made of."""

from __future__ import annotations

import abc
import contextlib
import enum
import subprocess
from collections.abc import Sequence

from nconnect.errors import NconnectError


class Machine(enum.StrEnum):
    """A machine of the lab; the values are host names."""

    RELAY = "relay"
    PROVIDER = "provider"
    INFERENCE = "inference"
    USER = "user"


class Depth(abc.ABC):
    """Four machines; as an async context manager it makes them, and stops and removes them at the end."""

    title: str
    lan = "192.168.56.0/24"
    inference = "192.168.56.20"
    relay = "203.0.113.10"
    name = ""
    """A name of that address, where programs of the user know the provider's names."""
    lan_name = "nas.lan"
    """Another one, which the LAN's own resolver knows (inference.sh)."""
    foreign = "www.example.org", "198.51.100.7"
    """A name of the Internet, which the user's own resolver knows (relay.sh), and what it means."""
    patience = 1.0
    """How many times slower than this machine's own processes the machines may be."""
    source = "/var/lib/lab-downloads/weights"
    """The large file at `inference`; its directory is served."""
    target = "/var/tmp/weights"
    """What the user makes of it."""
    megabytes = 192
    """Size of the download."""
    rate = 8_000_000
    """Bytes/s at most: the download must outlast what happens in it, and it goes on meanwhile."""
    silence = 4
    """Seconds without a byte after which the user's curl gives up; a restart of nconnect takes fewer."""

    @abc.abstractmethod
    async def __aenter__(self) -> None:
        """Make the machines and install nconnect; the services run."""

    @abc.abstractmethod
    async def __aexit__(self, *error: object) -> None:
        """Stop and remove everything."""

    @abc.abstractmethod
    async def run(
        self, machine: Machine, script: str, *, seconds: float = 30.0, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root in a machine.

        Raises:
            NconnectError: it took longer than `seconds` times the patience, or, with `check`, it failed.
        """

    @abc.abstractmethod
    async def start(self, machine: Machine) -> None:
        """Start nconnect in `provider` or `user`, as its administrator does."""

    @abc.abstractmethod
    async def stop(self, machine: Machine) -> None:
        """Stop nconnect in `provider` or `user`; returns when it has ended."""

    @abc.abstractmethod
    async def restart(self, machine: Machine) -> None:
        """Restart nconnect alone, as its administrator does after an upgrade; returns when it runs again."""

    @abc.abstractmethod
    async def reboot(self, machine: Machine) -> None:
        """Shut down in order and start again; returns when the machine is on its way up."""

    @abc.abstractmethod
    async def cut_power(self, machine: Machine) -> None:
        """Stop it as a power cut does, and start it again; returns when it is on its way up."""

    @abc.abstractmethod
    async def changes(self, machine: Machine) -> str:
        """What of the machine's network is not as it was before nconnect, as a diff; empty if nothing."""

    async def ways(self) -> Sequence[str]:
        """Addresses that a stubborn user might send packets for the LAN to."""
        return [self.relay]

    async def log(self, machine: Machine) -> str:
        """The last lines that nconnect wrote, for an explanation of a failure."""
        with contextlib.suppress(NconnectError):
            return (await self.run(machine, "journalctl -n 30 --no-pager -o short-precise")).stdout
        return "(no log)"
