"""Users × targets where the provider makes the connections itself, each cell from a real one by the proxy.

::

    user, another user in internet ──── nconnect devnet ──── provider --no-tun ──── lan
    nconnect socks, socks_matrix.py                          matrix_peer.py serve, everywhere

Users have no addresses here: a connection or flow is the link's on which it was asked for, so there is no
source to forge and no lease of another user to reach.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
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

from .matrix_peer import PORTS
from .timeline import RecordedLab

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
PEER = [sys.executable, str(HERE / "matrix_peer.py")]
TRY = [sys.executable, str(HERE / "socks_matrix.py"), "1080"]
METADATA, METADATA6 = "169.254.169.254", "fd00:ec2::254"
FIRST, SECOND = PORTS
# SOCKS has no word for a datagram that may not pass.
ALL_OPEN, ALL_REFUSED = "oooo", "rr--"
# A proxy that waits to be let in again keeps its clients waiting.
CUT_OFF = "----"
PLACES = {
    "lan_host": (LAN_HOST, LAN_HOST6),
    "provider": (PROVIDER_LAN_ADDRESS, PROVIDER_LAN_ADDRESS6),
    "metadata": (METADATA, METADATA6),
    "link_local": ("169.254.7.7", "fe80::7"),
    "beyond": (DEVNET_ADDRESS,),
    "loopback": ("127.0.0.1", "::1", "::ffff:127.0.0.1"),
    "nobody": ("0.0.0.0", "::"),
    "multicast": ("224.0.0.251", "ff02::fb"),
}
ONE_SERVICE = (
    f"{LAN_HOST}:{FIRST}/tcp",
    f"{LAN_HOST}:{SECOND}/udp",
    f"[{LAN_HOST6}]:{FIRST}/tcp",
    f"[{LAN_HOST6}]:{SECOND}/udp",
)


def expected(otherwise: str = ALL_REFUSED, **places: str) -> dict[str, tuple[str, ...]]:
    """These cells in these places, and `otherwise` in the others."""
    return {name: (places.get(name, otherwise),) * len(hosts) for name, hosts in PLACES.items()}


@dataclass
class Site:
    lab: Lab
    keys: dict[Party, str]
    socks: dict[Party, Process]

    async def allow(self, party: Party, *words: str) -> None:
        await self.lab.run_nconnect(Party.PROVIDER, "allow", self.keys[party], *words)

    async def found(self, party: Party = Party.USER) -> dict[str, tuple[str, ...]]:
        hosts = [host for place in PLACES.values() for host in place]
        cells = json.loads((await self.lab.run(party, [*TRY, *hosts])).stdout)
        return {name: tuple(cells[host] for host in place) for name, place in PLACES.items()}


def to(*targets: str) -> list[str]:
    return [word for one in targets for word in ("--to", one)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    async with RecordedLab.create() as lab:
        await steps.start_devnet(lab)
        users = (Party.USER, Party.INTERNET)
        keys = {party: await steps.public_key(lab, party) for party in users}
        metadata = ((METADATA, "-4"), (METADATA6, "-6"))
        for address, version in metadata:
            nodad = ["nodad"] if version == "-6" else []
            await lab.run(Party.LAN, ["ip", "addr", "add", address, "dev", "eth0", *nodad])
            await lab.run(Party.PROVIDER, ["ip", version, "route", "add", address, "dev", "lan0"])
        await lab.run(Party.PROVIDER, ["ip", "link", "set", "lo", "up"])
        site = Site(lab, keys, {})
        await site.allow(Party.USER)
        await site.allow(Party.INTERNET, *to(f"{LAN_HOST}:{SECOND}/tcp"))
        _, address = await steps.start_serve(lab, "--no-tun", lan=(LAN, LAN6))
        for party in users:
            site.socks[party] = lab.start_nconnect(party, "socks", "--peer", address, "--wait")
            await site.socks[party].wait_for("^connected to ", steps.START_SECONDS)
        served = {
            Party.LAN: (*PLACES["lan_host"], METADATA, METADATA6),
            Party.PROVIDER: (*PLACES["provider"], "127.0.0.1", "::1"),
            Party.INTERNET: PLACES["beyond"],
        }
        for party, addresses in served.items():
            peer = lab.start(party, [*PEER, "serve", *addresses], name="matrix_peer")
            await peer.wait_for("^ready$", steps.START_SECONDS)
        yield site


@pytest.mark.asyncio(loop_scope="module")
class TestMatrix:
    async def test_two_users_at_once_each_to_what_is_theirs(self, site: Site) -> None:
        await site.allow(Party.USER, *to(*ONE_SERVICE))
        one, other = await asyncio.gather(site.found(), site.found(Party.INTERNET))
        assert one == expected(lan_host="or-o")
        assert other == expected() | {"lan_host": ("ro--", ALL_REFUSED)}

    async def test_all_that_is_served(self, site: Site) -> None:
        await site.allow(Party.USER)
        assert await site.found() == expected(lan_host=ALL_OPEN)

    async def test_everything(self, site: Site) -> None:
        """Not the provider, loopback and metadata, which no wide network opens."""
        await site.allow(Party.USER, *to("0.0.0.0/0", "::/0"))
        assert await site.found() == expected(lan_host=ALL_OPEN, beyond=ALL_OPEN)

    async def test_what_is_closed_unless_it_is_named(self, site: Site) -> None:
        named = (
            f"{PROVIDER_LAN_ADDRESS}:{FIRST}/tcp",
            f"[{PROVIDER_LAN_ADDRESS6}]:{FIRST}/tcp",
            METADATA,
            METADATA6,
            "127.0.0.1",
            "::1",
        )
        await site.allow(Party.USER, *to(*named))
        found = await site.found()
        # Datagrams to ::ffff:127.0.0.1 are answered by 127.0.0.1, whom the client did not ask.
        loopback = (ALL_OPEN, ALL_OPEN, "oo--")
        assert found == expected(provider="or--", metadata=ALL_OPEN) | {"loopback": loopback}

    async def test_expired(self, site: Site) -> None:
        await site.allow(Party.USER, "--expires", "2s")
        await site.socks[Party.USER].wait_for("connection lost.*expired", 10)
        assert await site.found() == expected(CUT_OFF)
        assert (await site.found(Party.INTERNET))["lan_host"] == ("ro--", ALL_REFUSED)

    async def test_revoked(self, site: Site) -> None:
        await site.allow(Party.USER)
        await site.socks[Party.USER].wait_for("(?s)connection lost.*expired.*^connected to", 60)
        await site.lab.run_nconnect(Party.PROVIDER, "revoke", site.keys[Party.USER])
        await site.socks[Party.USER].wait_for("connection lost.*revoked", 10)
        assert await site.found() == expected(CUT_OFF)
