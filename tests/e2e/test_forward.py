"""Containers on a veth pair instead of a bridge, as systemd-nspawn has them: named with `--forward`.

::

    user ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.20
    │ nconnect up                            │ nconnect serve
    │ ve-c, a veth pair                      │ ve-c, a veth pair
    container 192.168.250.2                  container 192.168.250.2

One of the two at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Lab, Party
from nconnect.demo.process import Process
from tests.host.namespaces import Netns

pytestmark = pytest.mark.netns

# What systemd-networkd does for IPMasquerade=.
START = """
ip link add ve-c type veth peer name host0 netns {container}
ip address add 192.168.250.1/24 dev ve-c
ip link set ve-c up
nft 'add table ip networkd
add chain ip networkd postrouting {{ type nat hook postrouting priority srcnat; }}
add rule ip networkd postrouting ip saddr 192.168.250.0/24 masquerade'
sysctl -qw net.ipv4.ip_forward=1
"""
STARTED = """
ip address add 192.168.250.2/24 dev host0
ip link set host0 up
ip route add default via 192.168.250.1
"""


@pytest.fixture
def container() -> Iterator[Netns]:
    with Netns() as netns:
        yield netns


async def start(lab: Lab, party: Party, container: Netns) -> None:
    await lab.run(party, ["sh", "-ec", START.format(container=container.path)])
    container.sh(STARTED)


async def reaches_the_lan(lab: Lab, party: Party, container: Netns) -> str:
    """What ping says in the container."""
    ping = ["nsenter", f"--net={container.path}", "ping", "-c", "1", "-W", "3", LAN_HOST]
    return (await lab.run(party, ping, check=False)).stdout


async def says_that_it_is_cut(process: Process, whereto: str) -> None:
    line = f"what comes from .*ve-c is not forwarded{whereto}; if it shall be: --forward .*ve-c"
    await process.wait_for(line, steps.START_SECONDS)


async def test_at_the_user_s(network: Lab, container: Netns) -> None:
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, allow=(key,))
    up = await steps.start_up(network, address)
    await start(network, Party.USER, container)
    await says_that_it_is_cut(up, " into the tunnel")
    assert "Packet filtered" in await reaches_the_lan(network, Party.USER, container)
    assert await up.stop() == 0
    up = await steps.start_up(network, address, "--forward", "ve-*")
    assert " 0% packet loss" in await reaches_the_lan(network, Party.USER, container)
    assert "ve-c" not in up.output()


async def test_at_the_provider_s(network: Lab, container: Netns) -> None:
    serve, _ = await steps.start_serve(network)
    await start(network, Party.PROVIDER, container)
    await says_that_it_is_cut(serve, "")
    assert "100% packet loss" in await reaches_the_lan(network, Party.PROVIDER, container)
    assert await serve.stop() == 0
    serve, _ = await steps.start_serve(network, "--forward", "ve-*")
    assert " 0% packet loss" in await reaches_the_lan(network, Party.PROVIDER, container)
    assert "ve-c" not in serve.output()
