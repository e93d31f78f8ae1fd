"""What any tunnel over NKN in Python takes: the bare loop of programs/bare.py, over the same relay.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    bare                                      bare

The provider's kernel routes, as it does for nconnect, but translates and judges nothing.
"""

from __future__ import annotations

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN_HOST, PROVIDER_LAN_ADDRESS, SEED_RPC, Lab, Party
from scripts.benchmarks import programs, suite
from scripts.benchmarks.echo import Echo
from scripts.benchmarks.traffic import start_servers, tcp
from scripts.figures import Report

NAME = "bare loop"
DEVICE = "bare0"
# By the number of which each one's key is made.
ENDS = {Party.USER: ("3", "4"), Party.PROVIDER: ("4", "3")}
NETWORK = "10.88.0.0/24"
ADDRESSES = {Party.USER: "10.88.0.2/24", Party.PROVIDER: "10.88.0.1/24"}


async def run(report: Report, seconds: int) -> None:
    """Its rows, as the tunnel's."""
    async with Lab.create() as lab:
        await start_servers(lab, Party.LAN)
        await steps.start_devnet(lab)
        for party, numbers in ENDS.items():
            command = programs.command("bare", SEED_RPC, *numbers, DEVICE)
            end = lab.start(party, command, name="bare", env=programs.ENVIRONMENT)
            await end.wait_for("^ready", steps.START_SECONDS)
            await lab.run(party, ["ip", "address", "add", ADDRESSES[party], "dev", DEVICE])
            await lab.run(party, ["ip", "link", "set", DEVICE, "up"])
        await lab.run(Party.USER, ["ip", "route", "add", LAN, "dev", DEVICE])
        await lab.run(Party.PROVIDER, ["sysctl", "-qw", "net.ipv4.ip_forward=1"])
        await lab.run(Party.LAN, ["ip", "route", "add", NETWORK, "via", PROVIDER_LAN_ADDRESS])
        async with Echo(lab) as echo:
            await echo.beside(report, NAME)
        report.add(NAME, suite.TCP_UP, (await tcp(lab, Party.USER, LAN_HOST, seconds)).mbit, "Mbit/s")
