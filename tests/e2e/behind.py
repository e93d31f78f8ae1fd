"""What may be behind a provider's LAN: a router with a smaller link, or a VPN, and a network beyond.

::

    small link                                         vpn
    provider ── lan ══1280══ far ── host               provider ══VPN, 1280══ lan ── host

All other links have 1500, so both ends of a connection believe in that. In `provider`'s place there is the
provider of the lab; `lan` becomes a router. The far host is 192.168.78.20 and fd77:77:78::20, and runs
lan_server.py. In a black hole the routers say nothing of packets that are too big.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, PROVIDER_LAN_ADDRESS, Lab, Party
from nconnect.demo.process import Process
from tests.host.namespaces import Netns

HERE = Path(__file__).parent
FAR = "192.168.78.0/24"
FAR6 = "fd77:77:78::/64"
FAR_HOST = "192.168.78.20"
FAR_HOST6 = "fd77:77:78::20"
SMALL = 1280
"""The least that IPv6 has to have."""

FORWARD = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
"""
SILENT = """
nft add table inet silent
nft 'add chain inet silent output { type filter hook output priority 0; }'
nft add rule inet silent output icmp type destination-unreachable icmp code frag-needed drop
nft add rule inet silent output icmpv6 type packet-too-big drop
"""
# The last router before the host, in {router}'s namespace; the host's own.
LAST = """
ip address add 192.168.78.1/24 dev {link}
ip address add fd77:77:78::1/64 dev {link} nodad
"""
HOST = """
ip address add 192.168.78.20/24 dev eth0
ip address add fd77:77:78::20/64 dev eth0 nodad
ip route add default via 192.168.78.1
ip route add default via fd77:77:78::1
"""


class Behind:
    """The namespaces beyond the lab's; gone when closed."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host = Netns()
        self._others: list[Netns] = []

    def close(self) -> None:
        for netns in (self.host, *self._others):
            netns.close()

    async def start_server(self) -> Process:
        """lan_server.py on the far host."""
        command = ["nsenter", f"--net={self.host.path}", sys.executable, str(HERE / "lan_server.py")]
        server = self.lab.start(Party.LAN, command, name="lan_server")
        await server.wait_for("^ready$", steps.START_SECONDS)
        return server

    async def small_link(self, *, black_hole: bool) -> None:
        """A router behind the LAN host, and a small link between the two."""
        far = Netns()
        self._others.append(far)
        silent = SILENT if black_hole else ""
        await self._sh(
            Party.LAN,
            f"""
            ip link add hop0 mtu {SMALL} type veth peer name hop1 mtu {SMALL} netns {far.path}
            ip address add 10.0.1.1/30 dev hop0
            ip address add fd77:77:1::1/64 dev hop0 nodad
            ip link set hop0 up
            {FORWARD} {silent}
            """,
        )
        far.sh(
            f"""
            ip address add 10.0.1.2/30 dev hop1
            ip address add fd77:77:1::2/64 dev hop1 nodad
            ip link set hop1 up
            ip link add far0 type veth peer name eth0 netns {self.host.path}
            ip link set far0 up
            ip route add default via 10.0.1.1
            ip route add default via fd77:77:1::1
            {FORWARD} {silent} {LAST.format(link="far0")}
            """
        )
        self.host.sh(f"ip link set eth0 up {HOST}")
        await self._sh(Party.LAN, f"ip route add {FAR} via 10.0.1.2; ip route add {FAR6} via fd77:77:1::2")
        await self._sh(
            Party.PROVIDER, f"ip route add {FAR} via {LAN_HOST}; ip route add {FAR6} via fd77:77:77::20"
        )

    async def vpn(self, *, black_hole: bool) -> None:
        """The provider is in a VPN, whose other end is the LAN host."""
        silent = SILENT if black_hole else ""
        ends = (
            (Party.PROVIDER, PROVIDER_LAN_ADDRESS, LAN_HOST, 1),
            (Party.LAN, LAN_HOST, PROVIDER_LAN_ADDRESS, 2),
        )
        for party, local, peer, number in ends:
            command = [sys.executable, str(HERE / "vpn.py"), "vpn0", local, peer]
            await self.lab.start(party, command, name="vpn").wait_for("^ready$", steps.START_SECONDS)
            await self._sh(
                party,
                f"""
                ip link set vpn0 mtu {SMALL} up
                ip address add 10.0.1.{number}/30 dev vpn0
                ip address add fd77:77:1::{number}/64 dev vpn0 nodad
                {silent}
                """,
            )
        await self._sh(
            Party.LAN,
            f"""
            ip link add far0 type veth peer name eth0 netns {self.host.path}
            ip link set far0 up
            {FORWARD} {LAST.format(link="far0")}
            """,
        )
        self.host.sh(f"ip link set eth0 up {HOST}")
        await self._sh(
            Party.PROVIDER, f"ip route add {FAR} via 10.0.1.2; ip route add {FAR6} via fd77:77:1::2"
        )

    async def _sh(self, party: Party, script: str) -> None:
        await self.lab.run(party, ["sh", "-ec", script])
