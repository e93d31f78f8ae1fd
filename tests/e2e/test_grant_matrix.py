"""Users × targets, each cell from a real connection through the tunnel; tests/host/test_grants.py has more of
them, without the tunnel.

::

    user, another user in internet ──── nconnect devnet ──── provider ──── lan
    matrix_peer.py try                                       matrix_peer.py serve, everywhere
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio

from nconnect.demo import steps
from nconnect.demo.lab import (
    DEVNET_ADDRESS,
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    PROVIDER_LAN_ADDRESS,
    PROVIDER_LAN_ADDRESS6,
    Lab,
    Party,
)
from nconnect.demo.process import Process
from nconnect.tunnel.status import UpStatus

from .matrix_peer import PORTS
from .timeline import RecordedLab

pytestmark = pytest.mark.netns

PEER = [sys.executable, str(Path(__file__).with_name("matrix_peer.py"))]
LINK = "nc-up"
METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
LINK_LOCAL = "169.254.7.7", "fe80::7"
COUNTED = """
nft add table inet seen; nft add counter inet seen data
nft add chain inet seen input '{{ type filter hook prerouting priority -300; }}'
nft add rule inet seen input iifname {0} meta l4proto '{{ tcp, udp }}' counter name data
"""
# Whatever is not its own address, the user's machine translates; a hostile user's does not.
UNTRANSLATED = """
nft add table inet hostile; nft add chain inet hostile as_it_is '{ type nat hook postrouting priority 99; }'
"""
ALL_OPEN, ALL_REFUSED, SILENCE = "oooo", "rrrr", "----"
FIRST, SECOND = PORTS


@dataclass
class Site:
    lab: Lab
    key: str
    """Of the user in `user`, whose grant changes."""
    address: str
    """The provider's."""
    up: Process
    places: dict[str, tuple[str, ...]]

    async def provider(self, *words: str) -> None:
        await self.lab.run_nconnect(Party.PROVIDER, *words)

    async def allow(self, *targets: str) -> None:
        await self.provider("allow", self.key, *(word for one in targets for word in ("--to", one)))

    async def found(self, source4: str = "-", source6: str = "-") -> dict[str, tuple[str, ...]]:
        """What comes of a connection to each place, from the lease or from another source."""
        hosts = [host for place in self.places.values() for host in place]
        cells: dict[str, str] = {}
        for source, version6 in ((source4, False), (source6, True)):
            some = [host for host in hosts if (":" in host) is version6]
            done = await self.lab.run(Party.USER, [*PEER, "try", LINK, source, *some])
            cells |= json.loads(done.stdout)
        return {name: tuple(cells[host] for host in place) for name, place in self.places.items()}

    def expected(self, otherwise: str = ALL_REFUSED, **places: str) -> dict[str, tuple[str, ...]]:
        """These cells in these places, and `otherwise` in the others."""
        names = {name: places.get(name, otherwise) for name in self.places}
        cells = {name: (names[name],) * len(place) for name, place in self.places.items()}
        silent = otherwise == SILENCE
        return cells | {
            # The user's own machine knows no TCP with a group.
            "multicast": ("!!--" if silent else "!!rr", "!!--"),
            # A reset from 127.0.0.1 does not leave the provider, whose kernel takes no ::1 from a link.
            "loopback": (SILENCE if silent else "--rr", SILENCE),
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with RecordedLab.create() as lab:
        await steps.start_devnet(lab)
        key, other = [await steps.public_key(lab, party) for party in (Party.USER, Party.INTERNET)]
        for address in (METADATA, METADATA6, *LINK_LOCAL):
            nodad = ["nodad"] if ":" in address else []
            await lab.run(Party.LAN, ["ip", "addr", "add", address, "dev", "eth0", *nodad])
            await lab.run(Party.PROVIDER, ["ip", "route", "add", address, "dev", "lan0"])
        # A refusal for each packet, where a user would be told once a second.
        script = "echo 0 >/proc/sys/net/ipv4/icmp_ratelimit; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit"
        # And of all together: fifty at once. On older kernels that is the machine's, not this namespace's.
        script += "; cd /proc/sys/net/ipv4; for f in icmp_msgs_*; do [ ! -e $f ] || echo 100000 >$f; done"
        await lab.run(Party.PROVIDER, ["sh", "-c", script])
        _, address = await steps.start_serve(lab, lan=(LAN, LAN6), allow=(other,))
        await lab.run_nconnect(Party.PROVIDER, "allow", key)
        up = await steps.start_up(lab, address, "--wait")
        second = lab.start_nconnect(Party.INTERNET, "up", "--peer", address)
        await second.wait_for("^connected to ", steps.START_SECONDS)
        # Whatever the routes of the user's machine say.
        await lab.run(Party.USER, ["ip", "route", "add", "::/0", "dev", LINK])
        gateways = (await steps.up_status(lab)).gateways
        status = await steps.status(lab, Party.INTERNET)
        assert isinstance(status, UpStatus)
        places = {
            "lan_host": (LAN_HOST, LAN_HOST6),
            "provider": (PROVIDER_LAN_ADDRESS, PROVIDER_LAN_ADDRESS6),
            "gateway": tuple(gateways),
            "metadata": (METADATA, METADATA6),
            "link_local": LINK_LOCAL,
            "multicast": ("224.0.0.251", "ff02::fb"),
            "beyond": (DEVNET_ADDRESS,),
            "broadcast": (str(ip_network(LAN).broadcast_address),),
            "loopback": ("127.0.0.1", "::1"),
            "other_user": tuple(status.addresses),
        }
        for party, served in (
            (Party.LAN, (*places["lan_host"], *places["metadata"], LINK_LOCAL[0])),
            (Party.PROVIDER, (*places["provider"], *gateways, *places["loopback"])),
            (Party.INTERNET, (DEVNET_ADDRESS, *status.addresses)),
        ):
            peer = lab.start(party, [*PEER, "serve", *served], name="matrix_peer")
            await peer.wait_for("^ready$", steps.START_SECONDS)
        yield Site(lab, key, address, up, places)


@pytest.mark.asyncio(loop_scope="module")
class TestMatrix:
    async def test_one_service(self, site: Site) -> None:
        await site.allow(
            f"{LAN_HOST}:{FIRST}/tcp",
            f"{LAN_HOST}:{SECOND}/udp",
            f"[{LAN_HOST6}]:{FIRST}/tcp",
            f"[{LAN_HOST6}]:{SECOND}/udp",
        )
        assert await site.found() == site.expected(lan_host="orro")

    async def test_all_that_is_served(self, site: Site) -> None:
        await site.allow()
        assert await site.found() == site.expected(lan_host=ALL_OPEN)

    async def test_everything(self, site: Site) -> None:
        """Not the provider, metadata and other users, which no wide network opens."""
        await site.allow("0.0.0.0/0", "::/0")
        assert await site.found() == site.expected(lan_host=ALL_OPEN, beyond=ALL_OPEN)

    async def test_what_is_closed_unless_it_is_named(self, site: Site) -> None:
        places = site.places
        await site.allow(
            *(f"[{one}]:{FIRST}/tcp" if ":" in one else f"{one}:{FIRST}/tcp" for one in places["provider"]),
            *(f"[{one}]:{SECOND}/udp" if ":" in one else f"{one}:{SECOND}/udp" for one in places["gateway"]),
            *places["metadata"],
            *places["other_user"],
        )
        assert await site.found() == site.expected(
            provider="orrr",
            gateway="rrro",
            metadata=ALL_OPEN,
            # The gateway lets it through; that user's own machine then says nothing to anybody.
            other_user=SILENCE,
        )

    async def test_a_source_that_was_not_leased(self, site: Site) -> None:
        """Another user's, one of the LAN, the gateway's: nothing arrives on the LAN, and nothing is said."""
        await site.allow()
        await site.lab.run(Party.LAN, ["sh", "-ec", COUNTED.format("eth0")])
        await site.lab.run(Party.USER, ["sh", "-ec", UNTRANSLATED])
        of_the_lan = "192.168.77.99", "fd77:77:77::99"
        for sources in (site.places["other_user"], of_the_lan, site.places["gateway"]):
            for source in sources:
                family = "ip6" if ":" in source else "ip"
                await site.lab.run(Party.USER, ["ip", "addr", "add", source, "dev", LINK])
                rule = f"nft add rule inet hostile as_it_is {family} saddr {source} snat {family} to {source}"
                await site.lab.run(Party.USER, rule.split())
            # To these addresses it would speak with itself now.
            places = {name: place for name, place in site.places.items() if place != sources}
            found = await replace(site, places=places).found(*sources)
            silence = replace(site, places=places).expected(SILENCE)
            assert found == silence
            for source in sources:
                await site.lab.run(Party.USER, ["ip", "addr", "del", source, "dev", LINK])
        assert await bytes_seen(site.lab, Party.LAN) == [0]
        assert await site.found() == site.expected(lan_host=ALL_OPEN)
        assert await bytes_seen(site.lab, Party.LAN) > [0]

    async def test_expired(self, site: Site) -> None:
        await site.provider("allow", site.key, "--expires", "2s")
        await site.up.wait_for("connection lost.*expired", 10)
        assert await site.found() == site.expected(SILENCE)

    async def test_revoked(self, site: Site) -> None:
        await site.allow()
        await site.up.wait_for("(?s)connection lost.*expired.*^connected to", 60)
        await site.provider("revoke", site.key)
        await site.up.wait_for("connection lost.*revoked", 10)
        assert await site.found() == site.expected(SILENCE)


REVOKED_AFTER = 3.0


async def bytes_seen(lab: Lab, *parties: Party) -> list[int]:
    """Of TCP and UDP that came out of the tunnel, at the LAN host and at the user."""
    lists = [await lab.run(party, ["nft", "-j", "list", "counters"]) for party in parties]
    return [
        one["counter"]["bytes"]
        for each in lists
        for one in json.loads(each.stdout)["nftables"]
        if "counter" in one
    ]


async def test_nothing_passes_a_second_after_a_revoke_in_the_middle_of_transfers(network: Lab) -> None:
    """Both ways at once, as fast as the tunnel is; a second from the start of the command."""
    lab, key = network, await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(lab, allow=())
    await lab.run_nconnect(Party.PROVIDER, "allow", key)
    await steps.start_up(lab, address, "--wait")
    await lab.run(Party.LAN, ["sh", "-ec", COUNTED.format("eth0")])
    await lab.run(Party.USER, ["sh", "-ec", COUNTED.format(LINK)])
    for port in ("5201", "5202"):
        server = lab.start(Party.LAN, ["iperf3", "-s", "-p", port, "--forceflush"], name="iperf3")
        await server.wait_for("^Server listening", steps.START_SECONDS)
    for options in (("-p", "5201"), ("-p", "5202", "-R")):
        lab.start(Party.USER, ["iperf3", "-c", LAN_HOST, "-t", "30", *options], name="iperf3")
    await asyncio.sleep(REVOKED_AFTER)
    before = await bytes_seen(lab, Party.LAN, Party.USER)
    start = time.monotonic()
    await lab.run_nconnect(Party.PROVIDER, "revoke", key)
    await asyncio.sleep(max(0.0, start + 1.0 - time.monotonic()))
    after = await bytes_seen(lab, Party.LAN, Party.USER)
    await asyncio.sleep(REVOKED_AFTER)
    print(before, after)
    assert min(before) > 1_000_000
    assert await bytes_seen(lab, Party.LAN, Party.USER) == after
