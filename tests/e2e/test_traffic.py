"""What goes through the tunnel arrives whole: ICMP, TCP both ways, UDP, IPv6, many connections at once.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    lan_client.py                                          lan_server.py
    nconnect up                          nconnect serve    192.168.77.20, fd77:77:77::20
"""

from __future__ import annotations

import functools
import hashlib
import platform
import random
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, LAN_HOST6, PROVIDER_LAN_ADDRESS, Party

from .conftest import Tunnel

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent
MEGABYTE = 1 << 20
BOTH = pytest.mark.parametrize("host", [LAN_HOST, LAN_HOST6], ids=["IPv4", "IPv6"])

# A TUN device hands over what UDP_SEGMENT sends uncut.
USO_LINUX = (6, 2)
LINUX = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
MARK = """
sysctl -qw net.ipv4.tcp_ecn=1
nft add table inet marking
nft 'add chain inet marking output { type filter hook output priority 0; }'
nft add rule inet marking output oifname != wan0 ip ecn ect0 ip ecn set ce
nft add rule inet marking output oifname != wan0 ip6 ecn ect0 ip6 ecn set ce
"""
UNMARK = """
nft delete table inet marking
sysctl -qw net.ipv4.tcp_ecn=2
"""


async def ask(tunnel: Tunnel, *words: str) -> str:
    """Run lan_client.py in `user`, with lan_server.py running in `lan`."""
    lab = tunnel.lab
    if not any(process.name == "lan_server" for process in lab.processes):
        server = lab.start(Party.LAN, [sys.executable, str(HERE / "lan_server.py")], name="lan_server")
        await server.wait_for("^ready$", steps.START_SECONDS)
    result = await lab.run(Party.USER, [sys.executable, str(HERE / "lan_client.py"), *words], seconds=120)
    return result.stdout.strip()


def sha256(size: int, seed: int) -> str:
    """The digest of what lan_client.py sends and lan_server.py sends, made without a network."""
    choice, hasher = random.Random(seed), hashlib.sha256()
    while size:
        chunk = choice.randbytes(min(size, 1 << 18))
        hasher.update(chunk)
        size -= len(chunk)
    return hasher.hexdigest()


@BOTH
async def test_ping(shared_tunnel: Tunnel, host: str) -> None:
    result = await shared_tunnel.lab.run(Party.USER, ["ping", "-c", "5", "-i", "0.2", host])
    assert " 0% packet loss" in result.stdout


async def test_ping_the_gateway_itself(shared_tunnel: Tunnel) -> None:
    status = await steps.up_status(shared_tunnel.lab)
    for gateway in status.gateways:
        result = await shared_tunnel.lab.run(Party.USER, ["ping", "-c", "2", "-i", "0.2", gateway])
        assert " 0% packet loss" in result.stdout


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_100_megabytes_arrive_whole(shared_tunnel: Tunnel, direction: str) -> None:
    size, seed = 100 * MEGABYTE, 20261122
    assert await ask(shared_tunnel, direction, LAN_HOST, str(size), str(seed)) == sha256(size, seed)


@pytest.mark.parametrize("direction", ["upload", "download"])
async def test_tcp_over_ipv6(shared_tunnel: Tunnel, direction: str) -> None:
    size, seed = 10 * MEGABYTE, 6
    assert await ask(shared_tunnel, direction, LAN_HOST6, str(size), str(seed)) == sha256(size, seed)


@BOTH
async def test_200_connections_at_once(shared_tunnel: Tunnel, host: str) -> None:
    assert await ask(shared_tunnel, "talk", host, "200") == "200"


@BOTH
async def test_datagrams_of_all_sizes(shared_tunnel: Tunnel, host: str) -> None:
    sizes = ["1", "64", "1400", "1472", "1473", "4000", "9000"]  # the last three in fragments
    assert await ask(shared_tunnel, "datagrams", host, *sizes) == " ".join(sizes)


@BOTH
async def test_datagrams_sent_at_once(shared_tunnel: Tunnel, host: str) -> None:
    """By QUIC, say: with UDP_SEGMENT a program hands its kernel many in one call."""
    before = (await steps.up_status(shared_tunnel.lab)).packets["packets_out"]
    count = 40
    assert await ask(shared_tunnel, "burst", host, "1400", str(count)) == f"{count} 0"
    after = (await steps.up_status(shared_tunnel.lab)).packets["packets_out"]
    if LINUX >= USO_LINUX:
        assert after - before < count, "they were cut before they came to the tunnel"


@pytest.fixture
async def marking(shared_tunnel: Tunnel) -> AsyncIterator[None]:
    """On the user's machine TCP asks for ECN, and each packet that may be marked leaves it with a mark."""
    run = functools.partial(shared_tunnel.lab.run, Party.USER)
    await run(["sh", "-ec", MARK])
    yield
    await run(["sh", "-ec", UNMARK])


@BOTH
async def test_a_congestion_mark_crosses(shared_tunnel: Tunnel, marking: None, host: str) -> None:
    """The sender counts what the receiver tells it of marks, so the answer has crossed too."""
    agreed, answered = (await ask(shared_tunnel, "marked", host, "100000")).split()
    assert (agreed, answered) == ("True", "True")


async def test_the_lan_sees_the_provider(shared_tunnel: Tunnel) -> None:
    """Masquerade: no host of the LAN needs a route back to the overlay."""
    assert await ask(shared_tunnel, "hello", LAN_HOST) == PROVIDER_LAN_ADDRESS


async def test_status_tells_what_holds(shared_tunnel: Tunnel) -> None:
    lab = shared_tunnel.lab
    await ask(shared_tunnel, "hello", LAN_HOST)
    up, serve = await steps.up_status(lab), await steps.serve_status(lab)
    assert (up.schema, up.state, up.peer) == (1, "connected", shared_tunnel.address)
    assert up.key_exchange_group == "X25519MLKEM768"
    assert [route.prefix for route in up.routes if route.installed] == ["192.168.77.0/24", "fd77:77:77::/64"]
    assert [path.state for path in up.paths] == ["ready"] * 4
    assert up.bytes_in > 0
    assert up.bytes_out > 0
    assert up.silent_seconds is not None
    assert up.silent_seconds < 30
    (user,) = serve.users
    assert user.key == shared_tunnel.key
    assert user.addresses == up.addresses
    assert user.key_exchange_group == "X25519MLKEM768"
