"""Only whom the provider lets in; who is not let in is told so, and the provider is told how to let them in.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up                          nconnect serve
"""

from __future__ import annotations

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN_HOST, Lab, Party
from nconnect.demo.snapshot import difference, host_state

pytestmark = pytest.mark.netns

SOMEBODY = "11" * 32


async def test_nobody_by_default(network: Lab) -> None:
    key = await steps.public_key(network, Party.USER)
    before = await host_state(network, Party.USER)
    serve, address = await steps.start_serve(network)
    answer = await network.run_nconnect(Party.USER, "up", "--peer", address, check=False)
    assert answer.returncode == 5
    assert f"not admitted yet; your key is {key}" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert difference(before, await host_state(network, Party.USER)) == ""
    await serve.wait_for(f"nconnect allow {key}", 5)
    status = await steps.serve_status(network)
    assert [knock.key for knock in status.knocks] == [key]
    assert status.users == []


async def test_another_key_is_not_ours(network: Lab) -> None:
    _, address = await steps.start_serve(network, allow=(SOMEBODY,))
    answer = await network.run_nconnect(Party.USER, "up", "--peer", address, check=False)
    assert answer.returncode == 5
    command = ["ping", "-c", "1", "-W", "1", LAN_HOST]
    assert (await network.run(Party.USER, command, check=False)).returncode != 0


async def test_the_address_is_the_same_next_time(network: Lab) -> None:
    """A stable lease per key, through a restart of both sides."""
    key = await steps.public_key(network, Party.USER)
    seen = []
    for _ in range(2):
        serve, address = await steps.start_serve(network, allow=(key,))
        up = await steps.start_up(network, address)
        seen.append((await steps.up_status(network)).addresses)
        await up.stop()
        await serve.stop()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 2


async def test_a_route_that_the_user_is_in_already(network: Lab) -> None:
    """192.168.77.0/24 is offered, the user is in such a network, and wants no other name: exit code 4."""
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, allow=(key,))
    await network.run(Party.USER, ["ip", "address", "add", "192.168.77.9/24", "dev", "wan0"])
    before = await host_state(network, Party.USER)
    answer = await network.run_nconnect(Party.USER, "up", "--peer", address, "--no-map", check=False)
    assert answer.returncode == 4
    assert "192.168.77.0/24" in answer.stderr
    assert "wan0" in answer.stderr
    assert difference(before, await host_state(network, Party.USER)) == ""


async def test_a_wider_route_leaves_the_network_inside_alone(network: Lab) -> None:
    """192.168.0.0/16 is offered, the user is in 192.168.5.0/24: the tunnel takes all but that."""
    key = await steps.public_key(network, Party.USER)
    await network.run(Party.PROVIDER, ["ip", "route", "add", "192.168.0.0/16", "via", LAN_HOST])
    _, address = await steps.start_serve(network, lan=("192.168.0.0/16",), allow=(key,))
    await network.run(Party.USER, ["ip", "address", "add", "192.168.5.9/24", "dev", "wan0"])
    await steps.start_up(network, address)
    own = await network.run(Party.USER, ["ip", "route", "get", "192.168.5.7"])
    theirs = await network.run(Party.USER, ["ip", "route", "get", LAN_HOST])
    assert "dev wan0" in own.stdout
    assert "dev nc-up" in theirs.stdout
    command = ["ping", "-c", "2", "-i", "0.2", LAN_HOST]
    assert " 0% packet loss" in (await network.run(Party.USER, command)).stdout


async def test_the_websocket_stays_outside_whatever_is_offered(network: Lab) -> None:
    """The provider offers the very network that the relay is in; the tunnel does not swallow itself."""
    key = await steps.public_key(network, Party.USER)
    await network.run(Party.PROVIDER, ["ip", "route", "add", "192.0.2.0/24", "via", "203.0.113.1"])
    _, address = await steps.start_serve(network, lan=("192.0.2.0/24", "192.168.77.0/24"), allow=(key,))
    await steps.start_up(network, address)
    command = ["ping", "-c", "5", "-i", "0.2", LAN_HOST]
    assert " 0% packet loss" in (await network.run(Party.USER, command)).stdout
    status = await steps.up_status(network)
    assert [path.state for path in status.paths] == ["ready"] * 4
