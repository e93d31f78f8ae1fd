"""What breaks is noticed and mended, and what goes through the tunnel goes on.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    asks 50 times a second                                 answers
    nconnect up                          nconnect serve

The limits are coarse; `scripts/bench failover` has the figures.
"""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from nconnect.demo import outages, steps
from nconnect.demo.heartbeat import Heartbeat
from nconnect.demo.lab import Lab
from nconnect.demo.longflow import LongFlow
from nconnect.tunnel.link import ANSWER_TIMEOUT

from .conftest import Tunnel, connect

pytestmark = pytest.mark.netns

# On a machine that is busy with other tests everything takes several times as long.
BUSY = 4
PATIENCE = 60.0


async def is_back_after(heartbeat: Heartbeat, moment: float) -> float:
    """Seconds from `moment` to the first answer."""
    return (await heartbeat.beat_after(moment, PATIENCE)).answered - moment


@pytest.mark.parametrize("silent", [False, True], ids=["reset", "silent"])
async def test_one_of_four_nodes_dies(tunnel: Tunnel, silent: bool) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    moment = await outages.kill_node(tunnel.lab, 1, silent=silent)
    await heartbeat.beat_after(moment + 3.0, PATIENCE)
    assert heartbeat.longest_stall(moment, moment + 3.0) < 1.0 * BUSY


async def test_nodes_that_fall_silent_are_noticed_under_traffic(tunnel: Tunnel) -> None:
    """Sooner than by their missing pongs."""
    await Heartbeat.start(tunnel.lab)
    for index in range(4):
        await outages.kill_node(tunnel.lab, index, silent=True)
    async with asyncio.timeout(2.0 * BUSY):
        while any(path.state == "ready" for path in (await steps.up_status(tunnel.lab)).paths):
            pass


async def test_a_provider_that_falls_silent_is_noticed_under_traffic(tunnel: Tunnel) -> None:
    """Its machine is there and acknowledges for it, as do all relays; only its answers are missing."""
    await Heartbeat.start(tunnel.lab)
    moment = time.monotonic()
    tunnel.serve.send_signal(signal.SIGSTOP)
    lost = await tunnel.up.wait_for(r"^connection lost \((.*)\); dialling again$", 2.0 * BUSY)
    assert lost[1] == f"no answer from the peer for {ANSWER_TIMEOUT:g} s"
    assert time.monotonic() - moment > ANSWER_TIMEOUT / 2
    tunnel.serve.send_signal(signal.SIGCONT)


async def test_a_slow_network_with_a_deep_queue_is_not_a_dead_one(lab: Lab) -> None:
    """1 Mbit/s, 600 ms there and back, no end of room to queue, and a program that fills it both ways."""
    tunnel = await connect(lab, "--latency", "300", "--rate", "1", nodes=1)
    flow = await LongFlow.start(tunnel.lab)
    for _ in range(5):
        await asyncio.sleep(4.0)
        await flow.goes_on(PATIENCE)
    assert "connection lost" not in tunnel.up.output()
    assert all(path.state == "ready" for path in (await steps.up_status(tunnel.lab)).paths)


async def test_all_nodes_are_started_again(tunnel: Tunnel) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.restart_devnet(tunnel, 3.0)) < 2.0 * BUSY


async def test_the_provider_is_killed_and_started_again(tunnel: Tunnel) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.restart_serve(tunnel)) < 3.0 * BUSY


async def test_the_user_changes_networks(tunnel: Tunnel) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.change_address(tunnel.lab)) < 2.0 * BUSY


async def test_the_user_sleeps(tunnel: Tunnel) -> None:
    """Long enough for the nodes and the provider to have given up."""
    heartbeat = await Heartbeat.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.suspend(tunnel.up, 20.0)) < 2.0 * BUSY


async def test_connections_outlive_a_crash_of_the_provider(tunnel: Tunnel) -> None:
    """The LAN's answers must not be reset while nobody is there to pass them on."""
    flow = await LongFlow.start(tunnel.lab)
    for _ in range(3):
        await outages.restart_serve(tunnel)
        await flow.goes_on(PATIENCE)


async def test_connections_outlive_a_crash_of_the_user_s_side(tunnel: Tunnel) -> None:
    flow = await LongFlow.start(tunnel.lab)
    for _ in range(3):
        tunnel.up.kill()
        await tunnel.start_up()
        await flow.goes_on(PATIENCE)
