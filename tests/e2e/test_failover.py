"""What breaks is noticed and mended, and what goes through the tunnel goes on.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    asks 50 times a second                                 answers
    keeps a TCP connection                                 sends everything back
    downloads, or reads along                              as fast as it goes, or token by token
    nconnect up                          nconnect serve

The limits are coarse; `scripts/bench failover` has the figures.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from nconnect.demo import outages, steps
from nconnect.demo.download import start_download
from nconnect.demo.heartbeat import Heartbeat
from nconnect.demo.lab import DEVNET_ADDRESS, DEVNET_PORT, LAN_HOST, Lab, Party
from nconnect.demo.longflow import LongFlow
from nconnect.demo.process import Process
from nconnect.tunnel.health import NO_PATH
from nconnect.tunnel.holding import DEFAULT_SECONDS
from nconnect.tunnel.link import ANSWER_TIMEOUT, PING_INTERVAL, SILENCE_TIMEOUT
from scripts.benchmarks import programs

from .conftest import Tunnel, connect, status_says

pytestmark = pytest.mark.netns

# On a machine that is busy with other tests everything takes several times as long.
BUSY = 4
PATIENCE = 60.0
USE = 0.5
"""Seconds of some packets, which show what way they take."""
IDLE = PING_INTERVAL + 1.0
"""Seconds without a packet: only our own pings keep the paths as they are."""
WATCH = 3.0
"""Seconds after a node has died in which a standstill may begin."""
MEGABYTE = 1 << 20
SOME_TOKENS = 10
"""A second of a generation."""

HERE = Path(__file__).parent


async def is_back_after(heartbeat: Heartbeat, moment: float) -> float:
    """Seconds from `moment` to the first answer."""
    return (await heartbeat.beat_after(moment, PATIENCE)).answered - moment


async def longest_stall(heartbeat: Heartbeat, moment: float) -> float:
    """Seconds of the longest that begins within `WATCH` seconds of `moment`, however long it lasts."""
    end = await heartbeat.beat_after(moment + WATCH, PATIENCE)
    return heartbeat.longest_stall(moment, end.answered)


async def answer_times(lab: Lab, count: int) -> list[float]:
    """Seconds until each of so many pings was answered."""
    pings = ["ping", "-i", "0.1", "-c", str(count), "-W", f"{PATIENCE:g}", LAN_HOST]
    answers = (await lab.run(Party.USER, pings)).stdout
    return [float(number) / 1000 for number in re.findall(r" time=([\d.]+) ms", answers)]


class Generation:
    """A model server in the LAN, and a client that reads along."""

    def __init__(self, server: Process, client: Process) -> None:
        self._server = server
        self._client = client

    @classmethod
    async def start(cls, lab: Lab) -> Generation:
        program = [sys.executable, str(HERE / "generating.py")]
        server = lab.start(Party.LAN, [*program, "serve"], name="model server")
        await server.wait_for("^ready$", steps.START_SECONDS)
        client = lab.start(Party.USER, [*program, "ask", LAN_HOST], name="model client")
        generation = cls(server, client)
        await generation.goes_on()
        return generation

    async def goes_on(self) -> None:
        """Wait until all tokens until now have come, and some that are still to be made."""
        last = self._server.output().count("token ") + SOME_TOKENS
        await self._client.wait_for(f"^token {last}$", PATIENCE)

    async def finishes(self) -> None:
        """The server is at the end: the client has to come to the same."""
        self._server.send_signal(signal.SIGUSR1)
        await self._client.wait_for(r"^finished: \d+$", PATIENCE)


async def given_up(tunnel: Tunnel) -> None:
    """Wait until the provider takes the user for gone, and see that it holds what the user had."""
    await tunnel.serve.wait_for(f" has left: {tunnel.key}$", SILENCE_TIMEOUT + PATIENCE)
    provider = await steps.serve_status(tunnel.lab)
    assert ([lease.key for lease in provider.held], provider.users) == ([tunnel.key], [])
    # Ten minutes, of which the silence until now is over.
    assert 0 <= DEFAULT_SECONDS - SILENCE_TIMEOUT - provider.held[0].seconds < PATIENCE


NODE_DIES = pytest.mark.parametrize("silent", [False, True], ids=["reset", "silent"])


@NODE_DIES
async def test_one_of_four_nodes_dies(tunnel: Tunnel, silent: bool) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    node = await outages.node_in_use(tunnel.lab, asyncio.sleep(USE))
    moment = await outages.kill_node(tunnel.lab, node, silent=silent)
    assert await longest_stall(heartbeat, moment) < 1.0 * BUSY


@NODE_DIES
async def test_one_of_four_nodes_dies_under_load(tunnel: Tunnel, silent: bool) -> None:
    """What fills the tunnel goes on, and so does what has to get through beside it."""
    heartbeat, download = await Heartbeat.start(tunnel.lab), await start_download(tunnel.lab)
    before = (await steps.up_status(tunnel.lab)).bytes_in
    moment = await outages.kill_node(tunnel.lab, 1, silent=silent)
    stalls = [await longest_stall(one, moment) for one in (heartbeat, download)]
    assert max(stalls) < 1.0 * BUSY, stalls
    # It was a load: the heartbeat is a thousandth of that.
    assert (await steps.up_status(tunnel.lab)).bytes_in - before > 10 * MEGABYTE


async def test_the_node_in_use_dies_while_nothing_is_sent(tunnel: Tunnel) -> None:
    """The first datagram after that finds another way which was ready all the time."""
    node = await outages.node_in_use(tunnel.lab, answer_times(tunnel.lab, 5))
    await asyncio.sleep(IDLE)
    moment = await outages.kill_node(tunnel.lab, node, silent=True)
    assert max(await answer_times(tunnel.lab, 1)) < 1.0 * BUSY
    paths = (await steps.up_status(tunnel.lab)).paths
    spare = [path for path in paths if not path.node.endswith(f":{DEVNET_PORT + 1 + node}")]
    since = time.monotonic() - moment
    assert [path.state for path in spare if path.seconds > since] == ["ready"] * 3
    assert "connection lost" not in tunnel.up.output()


async def test_status_tells_of_nodes_that_die(tunnel: Tunnel) -> None:
    await Heartbeat.start(tunnel.lab)
    await status_says(tunnel.lab, r"connected for \d+ s")
    await outages.kill_node(tunnel.lab, 0)
    await status_says(tunnel.lab, r"degraded \(3 of 4 paths\) for \d+ s: .*node 192\.0\.2\.1:30004.*")
    for index in range(1, 4):
        await outages.kill_node(tunnel.lab, index)
    await status_says(tunnel.lab, rf"reconnecting for \d+ s: {NO_PATH}")
    await outages.revive_nodes(tunnel.lab)
    await status_says(tunnel.lab, r"connected for \d+ s")


async def test_a_node_that_others_are_sent_to(lab: Lab) -> None:
    """Who is told WRONG_NODE goes where that says at once, and what goes through the tunnel goes on."""
    keys = [await steps.public_key(lab, party) for party in (Party.USER, Party.PROVIDER)]
    places = [word for key in keys for word in ("--place", f"{key}:0,1,2,3")]
    arguments = (f"{DEVNET_ADDRESS}:{DEVNET_PORT}", 4, 0, 0, 1, *places)
    devnet = lab.start(
        Party.INTERNET,
        programs.command("failing_devnet", *arguments),
        name="devnet",
        env=programs.ENVIRONMENT,
    )
    await devnet.wait_for("--seed-rpc", steps.START_SECONDS)
    _, address = await steps.start_serve(lab, allow=keys[:1])
    await steps.start_up(lab, address)
    heartbeat = await Heartbeat.start(lab)

    async def until_it_is_used(used: bool, seconds: float = PATIENCE) -> None:
        async with asyncio.timeout(seconds):
            while True:
                paths = (await steps.up_status(lab)).paths
                ready = [path.node for path in paths if path.state == "ready"]
                if len(ready) == 4 and any(f":{DEVNET_PORT + 2}" in node for node in ready) == used:
                    return

    await until_it_is_used(True)
    devnet.send_signal(signal.SIGUSR1)
    await devnet.wait_for("^a node is down$", steps.START_SECONDS)
    await until_it_is_used(False)
    devnet.send_signal(signal.SIGUSR2)
    await devnet.wait_for("^it is up$", steps.START_SECONDS)
    moment = time.monotonic()
    await until_it_is_used(True, 1.0 * BUSY)
    assert await longest_stall(heartbeat, moment) < 1.0 * BUSY


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


async def test_a_provider_that_falls_silent_is_noticed_on_an_idle_link(tunnel: Tunnel) -> None:
    """Nobody wants anything of it but our pings, and `status` goes by what it answered last."""
    await status_says(tunnel.lab, r"connected for \d+ s")
    moment = time.monotonic()
    tunnel.serve.send_signal(signal.SIGSTOP)
    said = await status_says(
        tunnel.lab, r"reconnecting for \d+ s: no answer from the provider since (\d+) s \(.+\)"
    )
    noticed = time.monotonic() - moment
    assert noticed < PING_INTERVAL + ANSWER_TIMEOUT * BUSY
    assert ANSWER_TIMEOUT <= int(said[1]) <= noticed + PING_INTERVAL + 1.0
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
    heartbeat, flow = await Heartbeat.start(tunnel.lab), await LongFlow.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.restart_devnet(tunnel, 3.0)) < 2.0 * BUSY
    await flow.goes_on(PATIENCE)


async def test_the_provider_is_killed_and_started_again(tunnel: Tunnel) -> None:
    heartbeat = await Heartbeat.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.restart_serve(tunnel)) < 3.0 * BUSY


async def test_the_user_changes_networks(tunnel: Tunnel) -> None:
    heartbeat, flow = await Heartbeat.start(tunnel.lab), await LongFlow.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.change_address(tunnel.lab)) < 2.0 * BUSY
    await flow.goes_on(PATIENCE)


async def test_the_provider_changes_networks(tunnel: Tunnel) -> None:
    """Its LAN stays; users keep the address by which they know it."""
    heartbeat, flow = await Heartbeat.start(tunnel.lab), await LongFlow.start(tunnel.lab)
    moment = await outages.change_address(tunnel.lab, party=Party.PROVIDER)
    assert await is_back_after(heartbeat, moment) < 3.0 * BUSY
    await flow.goes_on(PATIENCE)


async def test_the_user_sleeps(tunnel: Tunnel) -> None:
    """A minute: the nodes and the provider have given up by then, but what the user had is held."""
    heartbeat, flow = await Heartbeat.start(tunnel.lab), await LongFlow.start(tunnel.lab)
    sleep = asyncio.create_task(outages.suspend(tunnel.up, 60.0))
    await given_up(tunnel)
    assert await is_back_after(heartbeat, await sleep) < 2.0 * BUSY
    await flow.goes_on(PATIENCE)


async def test_the_provider_sleeps(tunnel: Tunnel) -> None:
    """Long enough for the nodes and the user to have given up."""
    heartbeat, flow = await Heartbeat.start(tunnel.lab), await LongFlow.start(tunnel.lab)
    assert await is_back_after(heartbeat, await outages.suspend(tunnel.serve, 20.0)) < 3.0 * BUSY
    await flow.goes_on(PATIENCE)


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


async def test_a_long_generation_finishes_whatever_happens(tunnel: Tunnel) -> None:
    """A relay dies, the laptop sleeps, the gateway is restarted: each token arrives, by one response."""
    generation = await Generation.start(tunnel.lab)
    node = await outages.node_in_use(tunnel.lab, generation.goes_on())
    await outages.kill_node(tunnel.lab, node, silent=True)
    await generation.goes_on()
    tunnel.up.send_signal(signal.SIGSTOP)
    await given_up(tunnel)
    tunnel.up.send_signal(signal.SIGCONT)
    await generation.goes_on()
    await outages.restart_serve(tunnel)
    await generation.goes_on()
    await generation.finishes()
