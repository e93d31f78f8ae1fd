"""Others delete what is ours: while we run it is noticed, said and put right; at the end it is no error.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up: nc-up,                  nconnect serve: nc-serve,
    routes, rules, a table of nftables   a table of nftables, forwarding
"""

from __future__ import annotations

import re
import signal

import pytest

from nconnect.demo.lab import LAN_HOST, LAN_HOST6, Party
from nconnect.tunnel.overlay import HOST_CHECK_INTERVAL

from .conftest import Tunnel

pytestmark = pytest.mark.netns

BUSY = 4
NOTICED = 2.0 * BUSY
"""Seconds for what the kernel tells of: a tenth, and up to one after another change."""

# What is done, and what is said of it. TABLE is the user's routing table.
TO_THE_USER = {
    "nft delete table inet nconnect_up": "somebody removed our nftables table; it is in place again",
    "nft flush ruleset": "somebody removed our nftables table; it is in place again",
    "nft flush table inet nconnect_up": "somebody changed the rules of chain",
    "ip -4 route flush table TABLE": "somebody removed our unicast route",
    "ip -6 route flush table TABLE": "somebody removed our unicast route fd77:77:77::/64",
    "ip -4 rule delete priority 5200": "somebody removed our IPv4 rule 5200",
    "ip -6 rule delete priority 5200": "somebody removed our IPv6 rule 5200",
    "ip address flush dev nc-up": "somebody removed our address",
    "ip link set nc-up down": "somebody deleted nc-up or set it down; it is up again",
    "ip link delete nc-up": "somebody deleted nc-up; it is there again",
}
TO_THE_PROVIDER = {
    "nft delete table inet nconnect_serve": "somebody removed our nftables table; it is in place again",
    "nft flush table inet nconnect_serve": "somebody changed the rules of chain",
    "ip address flush dev nc-serve": "somebody removed our address",
    "ip link set nc-serve down": "somebody deleted nc-serve or set it down; it is up again",
    "ip link delete nc-serve": "somebody deleted nc-serve; it is there again",
}


async def ping(tunnel: Tunnel, host: str) -> bool:
    """Whether one of several is answered: right after a repair the first may still be lost."""
    command = ["ping", "-c", "1", "-W", "1", host]
    for _ in range(10):
        if (await tunnel.lab.run(Party.USER, command, check=False)).returncode == 0:
            return True
    return False


async def meddle(tunnel: Tunnel, party: Party, command: str) -> None:
    rules = (await tunnel.lab.run(Party.USER, ["ip", "rule", "show", "priority", "5200"])).stdout
    table = re.findall(r"lookup (\d+)", rules)
    await tunnel.lab.run(party, command.replace("TABLE", table[0] if table else "").split())


async def put_right(tunnel: Tunnel, party: Party, deeds: dict[str, str]) -> None:
    """Each is said once more than before, and both IP versions work again."""
    process = tunnel.up if party == Party.USER else tunnel.serve
    for command, said in deeds.items():
        before = process.output().count(said)
        await meddle(tunnel, party, command)
        await process.wait_for(rf"(?s)(?:{re.escape(said)}.*?){{{before + 1}}}", NOTICED)
        for host in (LAN_HOST, LAN_HOST6):
            assert await ping(tunnel, host), command


async def test_the_users_side(tunnel: Tunnel) -> None:
    await put_right(tunnel, Party.USER, TO_THE_USER)
    assert await tunnel.up.stop() == 0
    assert await tunnel.changes(Party.USER) == ""


async def test_the_providers_side(tunnel: Tunnel) -> None:
    await put_right(tunnel, Party.PROVIDER, TO_THE_PROVIDER)
    assert await tunnel.serve.stop() == 0
    assert await tunnel.changes(Party.PROVIDER) == ""


async def test_forwarding_that_somebody_switched_off(tunnel: Tunnel) -> None:
    """`sysctl --system` does, where a file says so; no event tells of it."""
    lab = tunnel.lab
    await lab.run(Party.PROVIDER, ["sysctl", "-w", "net.ipv4.ip_forward=0"])
    await tunnel.serve.wait_for(
        "somebody changed the sysctl net.ipv4.ip_forward; it is 1 again", HOST_CHECK_INTERVAL + NOTICED
    )
    assert await ping(tunnel, LAN_HOST)


@pytest.mark.parametrize("party", [Party.USER, Party.PROVIDER])
async def test_what_is_gone_at_the_end_is_no_error(tunnel: Tunnel, party: Party) -> None:
    """All of it is deleted while the process stands still, which then ends."""
    process = tunnel.up if party == Party.USER else tunnel.serve
    deeds = TO_THE_USER if party == Party.USER else TO_THE_PROVIDER
    process.send_signal(signal.SIGSTOP)
    for command in deeds:
        if "flush table inet" not in command and "down" not in command and "ruleset" not in command:
            await meddle(tunnel, party, command)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert await process.wait(10.0 * BUSY) == 0
    assert "Traceback" not in process.output()
    assert "could not" not in process.output()
    assert await tunnel.changes(party) == ""
    answer = await tunnel.lab.run_nconnect(party, "cleanup")
    assert answer.stdout == "nothing was left behind\n"
