"""What a user has is held for a while, and ended then.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    asks, over TCP                                         computes the answer for ever, and writes nothing
    nconnect up                          nconnect serve --lease 5s
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, Lab, Party
from nconnect.demo.longflow import LongFlow
from nconnect.demo.process import Process
from nconnect.errors import NconnectError
from nconnect.tunnel.link import SILENCE_TIMEOUT

pytestmark = pytest.mark.netns

PROGRAM = str(Path(__file__).with_name("computing.py"))
LEASE = 5.0
BUSY = 4
ENDED = SILENCE_TIMEOUT + LEASE * BUSY
"""Within this time a lease is over whose user was killed: until the provider knows, the user is there."""
GRANTED = 10.0
"""Seconds in which a user connects, asks and goes away."""
START = 30.0


async def serve(lab: Lab, key: str, *more: str) -> tuple[Process, str]:
    return await steps.start_serve(lab, "--lease", f"{LEASE:g}s", *more, lan=(LAN, LAN6), allow=(key,))


def configure(lab: Lab) -> None:
    """The same lease by the provider's configuration."""
    config = Path(lab.environment(Party.PROVIDER)["NCONNECT_CONFIG"])
    config.write_text(f'[serve]\nlease = "{LEASE:g}s"\n')


async def computing(lab: Lab, host: str) -> Process:
    """The server, which computes an answer for the user already."""
    server = lab.start(Party.LAN, [sys.executable, PROGRAM, "serve"], name="computing")
    await server.wait_for("^ready$", START)
    lab.start(Party.USER, [sys.executable, PROGRAM, "ask", host], name="asking")
    await server.wait_for("^asked$", START)
    return server


async def tracked(lab: Lab) -> list[str]:
    """The TCP connections that the provider's kernel translates for users."""
    table = (await lab.run(Party.PROVIDER, ["cat", "/proc/net/nf_conntrack"])).stdout
    return [line for line in table.splitlines() if "dport=7010" in line]


async def user_rules(lab: Lab) -> str:
    return (await lab.run(Party.PROVIDER, ["nft", "list", "map", "inet", "nconnect_serve", "users4"])).stdout


@pytest.mark.parametrize("host", [LAN_HOST, LAN_HOST6])
async def test_a_server_that_computes_hears_of_the_end_of_a_lease(network: Lab, host: str) -> None:
    """It sends nothing, so nothing that is answered to it can tell."""
    key = await steps.public_key(network, Party.USER)
    serving, address = await serve(network, key)
    up = await steps.start_up(network, address)
    server = await computing(network, host)
    up.kill()
    killed = time.monotonic()
    assert len(await tracked(network)) == 1
    await server.wait_for("^reset$", ENDED)
    assert time.monotonic() - killed > LEASE - 1
    await serving.wait_for(rf"^the lease of {key} is over; connections that were reset: 1$", LEASE)
    assert await tracked(network) == []
    assert "100.64" not in (rules := await user_rules(network)), rules


async def test_a_lease_ends_although_the_provider_was_started_again(network: Lab) -> None:
    """After the time of the configuration."""
    key = await steps.public_key(network, Party.USER)
    configure(network)
    serving, address = await steps.start_serve(network, allow=(key,))
    up = await steps.start_up(network, address)
    server = await computing(network, LAN_HOST)
    await asyncio.sleep(1.5)  # once a second it is written who came
    up.kill()
    serving.kill()
    await steps.start_serve(network, allow=(key,))
    await server.wait_for("^reset$", ENDED)


async def test_who_is_revoked_has_no_connections_left(network: Lab) -> None:
    """Nor wait they for the time of a lease."""
    key = await steps.public_key(network, Party.USER)
    await network.run_nconnect(Party.PROVIDER, "allow", key)
    _, address = await steps.start_serve(network, "--lease", "1h")
    await steps.start_up(network, address)
    server = await computing(network, LAN_HOST)
    await network.run_nconnect(Party.PROVIDER, "revoke", key)
    await server.wait_for("^reset$", 2.0 * BUSY)


async def test_who_is_revoked_while_away_has_no_connections_left(network: Lab) -> None:
    """The machine that computes for nobody hears of it at once, not when the lease is over."""
    key = await steps.public_key(network, Party.USER)
    await network.run_nconnect(Party.PROVIDER, "allow", key)
    serving, address = await steps.start_serve(network, "--lease", "1h")
    up = await steps.start_up(network, address)
    server = await computing(network, LAN_HOST)
    assert await up.stop() == 0
    await serving.wait_for(f"has left: {key}$", 2.0 * BUSY)
    assert [held.key for held in (await steps.serve_status(network)).held] == [key]
    assert len(await tracked(network)) == 1
    await network.run_nconnect(Party.PROVIDER, "revoke", key)
    await server.wait_for("^reset$", 2.0 * BUSY)
    await serving.wait_for(rf"^the lease of {key} is over; connections that were reset: 1$", 2.0 * BUSY)
    assert await tracked(network) == []


async def test_what_was_granted_until_now_is_not_held_for_longer(network: Lab) -> None:
    """The grant expires while its user is away."""
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, "--lease", "1h")
    await network.run_nconnect(Party.PROVIDER, "allow", key, "--expires", f"{GRANTED:g}s")
    granted = time.monotonic()
    up = await steps.start_up(network, address)
    server = await computing(network, LAN_HOST)
    assert await up.stop() == 0
    assert "reset" not in server.output()
    await server.wait_for("^reset$", GRANTED + 2.0 * BUSY)
    assert time.monotonic() - granted > GRANTED - 1


async def test_an_outage_shorter_than_the_lease_costs_no_connection(network: Lab) -> None:
    """Of either process; the user is the same one at the same address afterwards."""
    key = await steps.public_key(network, Party.USER)
    serving, address = await serve(network, key)
    up = await steps.start_up(network, address)
    flow = await LongFlow.start(network)
    before = (await steps.up_status(network)).addresses
    up.kill()
    await asyncio.sleep(LEASE / 2)
    up = await steps.start_up(network, address)
    await flow.goes_on(START)
    serving.kill()
    await asyncio.sleep(LEASE / 2)
    await serve(network, key)
    await flow.goes_on(START)
    assert (await steps.up_status(network)).addresses == before
    await asyncio.sleep(2 * LEASE)  # a user who is there keeps the lease, however long it is
    await flow.goes_on(START)


async def test_a_lease_makes_no_sense_without_addresses(network: Lab) -> None:
    with pytest.raises(NconnectError, match=re.escape("--lease has no meaning with --no-tun")):
        await network.run_nconnect(Party.PROVIDER, "serve", "--lan", LAN, "--no-tun", "--lease", "1h")
