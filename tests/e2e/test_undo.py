"""Nothing is left behind: after `down`, signals and crashes both machines are as they were, to the letter.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up                          nconnect serve
"""

from __future__ import annotations

import signal

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, Lab, Party
from nconnect.demo.snapshot import difference, host_state
from nconnect.tunnel.overlay import HOST_CHECK_INTERVAL

from .conftest import Tunnel

pytestmark = pytest.mark.netns


async def ping(tunnel: Tunnel) -> bool:
    command = ["ping", "-c", "3", "-i", "0.2", "-W", "1", LAN_HOST]
    return (await tunnel.lab.run(Party.USER, command, check=False)).returncode == 0


async def test_down(tunnel: Tunnel) -> None:
    assert await tunnel.changes(Party.USER)
    assert await tunnel.changes(Party.PROVIDER)
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        answer = await tunnel.lab.run_nconnect(party, "down")
        assert answer.stdout.endswith(" is down\n")
        assert await process.wait(10) == 0
        assert await tunnel.changes(party) == ""
        assert (await tunnel.lab.run_nconnect(party, "down", check=False)).returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal(tunnel: Tunnel, number: signal.Signals) -> None:
    sides = [(Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)]
    if number == signal.SIGHUP:
        sides.pop()  # reads its policy again
    for party, process in sides:
        assert await process.stop(number) == 0
        assert await tunnel.changes(party) == ""


async def test_a_crash_and_cleanup(tunnel: Tunnel) -> None:
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        process.kill()
        left = await tunnel.changes(party)
        assert left, "a crash leaves something, else this test shows nothing"
        answer = await tunnel.lab.run_nconnect(party, "cleanup")
        assert "nftables" in answer.stdout
        assert await tunnel.changes(party) == ""
        again = await tunnel.lab.run_nconnect(party, "cleanup")
        assert again.stdout == "nothing was left behind\n"


async def test_a_crash_and_the_next_start(tunnel: Tunnel) -> None:
    tunnel.up.kill()
    tunnel.serve.kill()
    await tunnel.start_serve()
    await tunnel.start_up()
    assert await ping(tunnel)
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        (line,) = [line for line in process.output().splitlines() if line.startswith("left by a crash: ")]
        assert f"instance {process.name}: taken over: nftables table inet nconnect_{process.name}, " in line
        assert await process.stop() == 0
        assert await tunnel.changes(party) == ""


async def test_a_crash_and_the_next_start_of_another_name(tunnel: Tunnel) -> None:
    """Which undoes what was left, says so, and leaves nothing of it while it runs."""
    lab = tunnel.lab
    tunnel.up.kill()
    tunnel.serve.kill()
    tunnel.serve, _ = await steps.start_serve(lab, "--name", "other", lan=(LAN, LAN6), allow=(tunnel.key,))
    tunnel.up = await steps.start_up(lab, tunnel.address, "--name", "other")
    assert await ping(tunnel)
    for party, process, rules in ((Party.USER, tunnel.up, 2), (Party.PROVIDER, tunnel.serve, 0)):
        said = process.output()
        assert f"left by a crash: instance {process.name}: undone: nftables table inet nconnect_" in said
        assert said.count("undone: IPv") == rules
        assert said.index("left by a crash") < said.index("connected to " if rules else "serving ")
        assert (await lab.run(party, ["nft", "list", "tables"])).stdout == "table inet nconnect_other\n"
        assert (await lab.run(party, ["ip", "rule"])).stdout.count("5200") == rules / 2
        assert await process.stop() == 0
        assert await tunnel.changes(party) == ""


async def test_cleanup_does_not_touch_who_runs(tunnel: Tunnel) -> None:
    for party in (Party.USER, Party.PROVIDER):
        answer = await tunnel.lab.run_nconnect(party, "cleanup")
        assert answer.stdout == "nothing was left behind\n"
    assert await ping(tunnel)


async def test_foreign_tables_and_rules_stay(tunnel: Tunnel) -> None:
    """What others make while we run is there afterwards, and nothing else."""
    lab = tunnel.lab
    await lab.run(Party.USER, ["nft", "add table inet somebody"])
    await lab.run(Party.USER, ["ip", "rule", "add", "priority", "77", "lookup", "main"])
    assert await tunnel.up.stop() == 0
    changes = [line for line in (await tunnel.changes(Party.USER)).splitlines() if line[0] in "+-"]
    assert [line for line in changes if not line.startswith(("+++", "---"))] == [
        "+77:\tfrom all lookup main",
        "+table inet somebody {",
        "+}",
    ]


@pytest.mark.parametrize("kill_switch", [False, True], ids=["without", "with"])
async def test_where_packets_go_after_a_crash(network: Lab, kill_switch: bool) -> None:
    """Without a kill switch they go where they went before: here to the Internet."""
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, lan=(LAN, LAN6), allow=(key,))
    for command in ("address add 2001:db8:9::2/64 dev wan0 nodad", "route add default via 2001:db8:9::1"):
        await network.run(Party.USER, ["ip", "-6", *command.split()])
    before = await host_state(network, Party.USER)
    up = await steps.start_up(network, address, *(("--kill-switch",) if kill_switch else ()))
    up.kill()
    for host, router in ((LAN_HOST, "198.51.100.1"), (LAN_HOST6, "2001:db8:9::1")):
        lookup = await network.run(Party.USER, ["ip", "route", "get", host], check=False)
        assert (f"via {router}" in lookup.stdout) is not kill_switch
        assert ("unreachable" in lookup.stderr.lower() or "no route" in lookup.stderr.lower()) is kill_switch
    again = await steps.start_up(network, address, *(("--kill-switch",) if kill_switch else ()))
    for host in (LAN_HOST, LAN_HOST6):
        lookup = await network.run(Party.USER, ["ip", "route", "get", host])
        assert "dev nc-up" in lookup.stdout
    assert await again.stop() == 0
    assert difference(before, await host_state(network, Party.USER)) == ""


async def test_a_kill_switch_outlives_an_error_and_other_instances(network: Lab) -> None:
    """The user is revoked, or the provider gone: what was routed there is not for the local network."""
    key = await steps.public_key(network, Party.USER)
    serve, address = await steps.start_serve(network, allow=(key,), lan=(LAN, LAN6))
    before = await host_state(network, Party.USER)
    up = await steps.start_up(network, address, "--kill-switch")
    addresses = (LAN_HOST, LAN_HOST6)

    async def is_closed() -> bool:
        found = [
            await network.run(Party.USER, ["ip", "route", "get", address], check=False)
            for address in addresses
        ]
        return all("unreachable" in one.stderr.lower() or "no route" in one.stderr.lower() for one in found)

    await network.run_nconnect(Party.PROVIDER, "revoke", key)
    assert await up.wait(10) == 5
    assert "kill switch: " in up.output()
    assert await is_closed()
    status = await network.run_nconnect(Party.USER, "status", check=False)
    assert status.returncode == 3
    assert f"the kill switch of up keeps {LAN}" in status.stderr
    # Neither the clean-up of a unit nor the start of another instance opens it.
    assert (await network.run_nconnect(Party.USER, "cleanup", "--keep-kill-switch")).stdout == (
        "nothing was left behind\n"
    )
    other = await network.run_nconnect(Party.USER, "up", "--name", "other", "--peer", address, check=False)
    assert other.returncode == 5
    assert f"the kill switch of up keeps {LAN}" in other.stdout
    assert await is_closed()
    # Nor does a new try, in vain.
    await serve.stop()
    again = await network.run_nconnect(Party.USER, "up", "--kill-switch", "--peer", address, check=False)
    assert again.returncode not in (0, 5)
    assert await is_closed()
    await network.run_nconnect(Party.USER, "cleanup")
    assert difference(before, await host_state(network, Party.USER)) == ""


async def test_in_the_background(network: Lab) -> None:
    """`up -d` returns when packets flow; `down` ends what it left running."""
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, allow=(key,))
    answer = await network.run_nconnect(Party.USER, "up", "-d", "--peer", address)
    assert answer.stdout.startswith("connected to ")
    command = ["ping", "-c", "2", "-i", "0.2", LAN_HOST]
    assert " 0% packet loss" in (await network.run(Party.USER, command)).stdout
    assert (await network.run_nconnect(Party.USER, "down")).stdout == "up is down\n"
    assert (await network.run_nconnect(Party.USER, "status", check=False)).returncode == 3


async def test_a_flushed_table_comes_back(tunnel: Tunnel) -> None:
    """`systemctl restart nftables` flushes every table; ours is what limits the users."""
    await tunnel.lab.run(Party.PROVIDER, ["nft", "flush", "ruleset"])
    await tunnel.serve.wait_for("somebody removed our nftables table", 2 * HOST_CHECK_INTERVAL)
    assert await ping(tunnel)
    assert await tunnel.serve.stop() == 0
    assert await tunnel.changes(Party.PROVIDER) == ""
