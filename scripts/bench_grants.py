"""What many users cost the gateway: each packet, each change in the kernel, and each whole command.

::

    user ──── veth ──── provider: nconnect's table ──── veth ──── lan
    iperf3              1 or 10,000 users,                        iperf3
                        with one grant or one each

The link on the left stands for the tunnel, and carries more than the tunnel does, so that what the rules cost
is seen. Run it with `scripts/bench grants`, as root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import netns

from nconnect.host.grants import Target
from nconnect.host.plans import gateway_state
from nconnect.host.state import HostManager
from nconnect.host.user_rules import Address, UserRules
from scripts import command
from scripts.benchmarks import permissions
from scripts.figures import Row, progress

# Of one transaction, when thousands are put in place.
BATCH = 1000
CHANGES = 20
POOL4, POOL6 = ip_interface("100.64.0.1/16"), ip_interface("fd09::1/64")
UNITS = {"TCP up": "Mbit/s", "TCP down": "Mbit/s", "datagrams up": "thousand/s"}
LAN_HOST = "192.168.0.20"
IPERF = 5201
# Whose traffic is measured: neither the first nor the last of the table.
MEASURED = 7

# One hardware address at both ends and no ARP: as on a TUN device, nothing is said but what users say.
LINK = "link set {0} address 02:00:00:00:00:01 arp off"


class Bench:
    """Three namespaces, and a gateway's table in the one where this process is."""

    def __init__(self, manager: HostManager, names: dict[str, str], seconds: int) -> None:
        self._manager = manager
        self._names = names
        self._seconds = seconds
        self._users: list[UserRules] = []
        self._same = False

    def have(self, count: int, same: bool) -> None:
        """Have this many users; `same`: all with one grant, else with one each."""
        wanted = [user(number, same) for number in range(count)]
        gone = [one.addresses[0] for one in self._users[count:]]
        for first in range(0, len(gone), BATCH):
            self._manager.change_users(remove=gone[first : first + BATCH])
        for first in range(0, count, BATCH):
            self._manager.change_users(wanted[first : first + BATCH])
        self._users, self._same = wanted, same

    def changes(self) -> dict[str, list[float]]:
        """Milliseconds of letting one more in, of giving one other rules, and of revoking one.

        The processor's time, too, which other work on the machine does not add to.
        """
        one_more, other = user(len(self._users), self._same), user(0, self._same)
        taken: dict[str, list[float]] = {"allow": [], "change": [], "revoke": []}
        before = _processor_seconds()
        for number in range(CHANGES):
            taken["allow"].append(self._milliseconds([one_more]))
            taken["change"].append(self._milliseconds([replace(other, rate=10**9 + number)]))
            taken["revoke"].append(self._milliseconds(remove=one_more.addresses[:1]))
        taken["processor, of each"] = [(_processor_seconds() - before) * 1e3 / CHANGES / len(taken)]
        return taken

    def commands(self) -> dict[str, list[float]]:
        """Milliseconds of whole commands; of the processor with the gateway's and the kernel's part."""
        with tempfile.TemporaryDirectory() as directory:
            gateway = permissions.Gateway(self._manager, self._users, Path(directory))
            before = _processor_seconds()
            taken = asyncio.run(gateway.commands(CHANGES))
            busy = _processor_seconds() - before
        taken["processor, of each"] = [busy * 1e3 / CHANGES / len(taken)]
        return {f"nconnect {what}": values for what, values in taken.items()}

    def _milliseconds(self, changed: Sequence[UserRules] = (), remove: Sequence[Address] = ()) -> float:
        start = time.perf_counter()
        self._manager.change_users(changed, remove)
        return (time.perf_counter() - start) * 1e3

    def traffic(self) -> dict[str, float]:
        """Mbit/s of one TCP stream each way, thousands of datagrams a second."""
        small = self._iperf("--udp", "--bitrate", "0", "--length", "200")["sum"]
        arrived = small["packets"] - small["lost_packets"]
        return {
            "TCP up": self._iperf()["sum_received"]["bits_per_second"] / 1e6,
            "TCP down": self._iperf("--reverse")["sum_received"]["bits_per_second"] / 1e6,
            "datagrams up": arrived / small["seconds"] / 1e3,
        }

    def _iperf(self, *options: str) -> dict[str, Any]:
        address = str(user(MEASURED if len(self._users) > MEASURED else 0).addresses[0])
        where = ["ip", "netns", "exec", self._names["user"]]
        client = [
            "iperf3",
            "-J",
            "-c",
            LAN_HOST,
            "-B",
            address,
            "-t",
            str(self._seconds),
            "-O",
            "1",
            *options,
        ]
        done = subprocess.run([*where, *client], capture_output=True, text=True, check=True)
        end: dict[str, Any] = json.loads(done.stdout)["end"]
        return end


def user(number: int, same: bool = True) -> UserRules:
    """A user who may use iperf3; all of them with the same grant, or each with another service too."""
    # Number 0 is the pool's own, 1 the gateway's.
    lease = IPv4Address(int(POOL4.ip) + 1 + number), IPv6Address(int(POOL6.ip) + 1 + number)
    ports = [IPERF] if same else [IPERF, 10_000 + number]
    host = ip_network(LAN_HOST)
    targets = [Target(host, protocol, (port, port)) for port in ports for protocol in ("tcp", "udp")]
    return UserRules(lease, tuple(targets))


@contextlib.contextmanager
def bench(seconds: int) -> Iterator[Bench]:
    """Namespaces, links and servers; this process is in the provider's from now on."""
    names = {one: f"ncb{os.getpid()}-{one}" for one in ("user", "provider", "lan")}
    with contextlib.ExitStack() as stack:
        for name in names.values():
            _ip("netns", "add", name)
            stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _link(names, "user", "user0", "nc0")
        _link(names, "lan", "lan0", "prov0")
        for link, name in (("user0", "user"), ("nc0", "provider")):
            _ip("-n", names[name], *LINK.format(link).split())
        for name, words in (
            ("user", "addr add {user}/16 dev user0"),
            ("user", "route add default dev user0"),
            ("provider", "addr add 192.168.0.1/24 dev prov0"),
            ("lan", f"addr add {LAN_HOST}/24 dev lan0"),
        ):
            for number in (0, MEASURED) if "{user}" in words else (0,):
                _ip("-n", names[name], *words.format(user=user(number).addresses[0]).split())
        server = ["ip", "netns", "exec", names["lan"], "iperf3", "-s", "--forceflush"]
        process = stack.enter_context(subprocess.Popen(server, stdout=subprocess.PIPE, text=True))
        stack.callback(process.terminate)
        assert process.stdout is not None
        next(line for line in process.stdout if "listening" in line)
        netns.setns(names["provider"])
        journal = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bench.journal"
        manager = stack.enter_context(HostManager(journal))
        manager.apply(gateway_state("bench", "nc0", 1500, (POOL4, POOL6)))
        yield Bench(manager, names, seconds)


def _processor_seconds() -> float:
    """Of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _link(names: dict[str, str], other: str, far: str, near: str) -> None:
    _ip("-n", names[other], "link", "add", far, "type", "veth", "peer", near, "netns", names["provider"])
    _ip("-n", names[other], "link", "set", far, "up")
    _ip("-n", names["provider"], "link", "set", near, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def measure(users: int, rounds: int, seconds: int) -> list[Row]:
    """A row for each figure of each case, medians of rounds in which the cases take turns."""
    cases = {"1 user": (1, True), f"{users:,} users": (users, True), f"{users:,} grants": (users, False)}
    found: dict[tuple[str, str], list[float]] = {}
    with bench(seconds) as gateway:
        for number in range(rounds):
            for name, (count, same) in cases.items():
                progress(f"round {number + 1} of {rounds}, {name}")
                gateway.have(count, same)
                for what, value in gateway.traffic().items():
                    found.setdefault((f"{name}: {what}", UNITS[what]), []).append(value)
                for what, values in (gateway.changes() | gateway.commands()).items():
                    found.setdefault((f"{name}: {what}", "ms"), []).extend(values)
    return [Row(name, round(statistics.median(values), 1), unit) for (name, unit), values in found.items()]


def main() -> None:
    parser = command.make_parser("grants", __doc__)
    parser.add_argument("--users", type=int, default=10_000, help="compared with one [default: 10000]")
    parser.add_argument("--rounds", type=int, default=3, help="the cases take turns [default: 3]")
    parser.add_argument("--seconds", type=int, default=4, help="of each transfer [default: 4]")
    options = parser.parse_args()
    command.run(
        "grants", lambda: measure(options.users, options.rounds, options.seconds), as_json=options.json
    )


if __name__ == "__main__":
    main()
