"""What a break-in would find: a process that may change the network, and nothing else.

::

    user ──── internet: nconnect devnet ──── provider ──── lan
    nconnect up                          nconnect serve
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, Lab, Party, nconnect_command
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.host.privileges import CAP_NET_ADMIN, CAP_NET_BIND_SERVICE
from tests.host.given_up import fields

from .conftest import Tunnel
from .own_user import as_user

pytestmark = pytest.mark.netns

OWN_USER = 54321
ONLY_NET_ADMIN = f"{1 << CAP_NET_ADMIN:016x}"


def threads(process: Process) -> list[dict[str, str]]:
    """The /proc/PID/status of each thread."""
    tasks = Path(f"/proc/{process.pid}/task").iterdir()
    return [fields((task / "status").read_text()) for task in tasks]


def capabilities(process: Process) -> set[str]:
    """What all threads have, or can get."""
    return {thread[name] for thread in threads(process) for name in ("CapEff", "CapPrm", "CapBnd")}


def assert_only_net_admin(process: Process, user: int = 0) -> None:
    for thread in threads(process):
        assert thread["Uid"].split() == [str(user)] * 4
        assert {thread[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {ONLY_NET_ADMIN}
        assert {thread[name] for name in ("CapInh", "CapAmb")} <= {"0" * 16, ONLY_NET_ADMIN}
        assert thread["NoNewPrivs"] == "1"


async def ping(lab: Lab, host: str = LAN_HOST) -> None:
    command = ["ping", "-c", "3", "-i", "0.2", "-W", "1", host]
    assert " 0% packet loss" in (await lab.run(Party.USER, command)).stdout


async def test_root_keeps_one_capability(tunnel: Tunnel) -> None:
    """In every thread, while packets flow; and it is enough to put everything back."""
    await ping(tunnel.lab)
    for party, process in ((Party.USER, tunnel.up), (Party.PROVIDER, tunnel.serve)):
        assert_only_net_admin(process)
        assert await process.stop() == 0
        assert await tunnel.changes(party) == ""


async def test_it_comes_back_with_one_capability(tunnel: Tunnel) -> None:
    """The user dials again by itself, once the provider is there again."""
    await tunnel.serve.stop()
    await tunnel.up.wait_for("connection lost", 30)
    tunnel.serve, _ = await steps.start_serve(tunnel.lab, lan=(LAN, LAN6), allow=(tunnel.key,))
    await tunnel.up.wait_for(r"(?s)connection lost.*^connected to ", 60)
    await ping(tunnel.lab)
    assert_only_net_admin(tunnel.up)
    assert_only_net_admin(tunnel.serve)


async def test_without_a_device_no_capability_is_kept(network: Lab) -> None:
    serve, address = await steps.start_serve(network, "--no-tun")
    assert capabilities(serve) == {"0" * 16}
    source = ("--from", "127.0.0.1:80", "--to", f"tunnel.{address}")
    tunnel = network.start_nconnect(Party.USER, "tunnel", *source)
    await tunnel.wait_for("127.0.0.1:80", steps.START_SECONDS)
    assert capabilities(tunnel) == {f"{1 << CAP_NET_BIND_SERVICE:016x}"}


async def start(lab: Lab, party: Party, *arguments: str) -> Process:
    """`nconnect` as a user of its own."""
    argv = as_user(OWN_USER, *nconnect_command(*arguments), directories=(lab.directory / party,))
    return lab.start(party, argv, name=arguments[0])


async def ask_as_root(lab: Lab, party: Party, *arguments: str) -> str:
    """What root's `nconnect` says; it does not come to the files by what this user may not read."""
    argv = as_user(0, *nconnect_command(*arguments), directories=(lab.directory / party,))
    return (await lab.run(party, argv)).stdout


async def connect(lab: Lab, key: str) -> tuple[Process, Process]:
    serve = await start(lab, Party.PROVIDER, "serve", "--lan", LAN, "--lan", LAN6, "--allow", key)
    address = (await serve.wait_for(r"^serving .* at (\S+)$", steps.START_SECONDS))[1]
    up = await start(lab, Party.USER, "up", "--peer", address)
    await up.wait_for("^connected to ", steps.START_SECONDS)
    return up, serve


async def open_memory(lab: Lab, party: Party, process: Process) -> str:
    """What another process hears that has the same user and rights, and wants to read this one's memory."""
    neighbour = as_user(OWN_USER, "sh", "-c", f": </proc/{process.pid}/mem")
    return (await lab.run(party, neighbour, check=False)).stderr


async def test_a_neighbour_gets_at_no_memory(network: Lab) -> None:
    """Keys are in it. The same neighbour reads that of a program which does nothing about it."""
    lab = network
    key = (await lab.run_nconnect(Party.USER, "id")).stdout.strip()
    up, serve = await connect(lab, key)
    for party, process in ((Party.USER, up), (Party.PROVIDER, serve)):
        careless = lab.start(party, as_user(OWN_USER, "sh", "-c", "echo ready; sleep 600"), name="careless")
        await careless.wait_for("^ready$", 10)
        assert await open_memory(lab, party, careless) == ""
        assert f"/proc/{process.pid}/mem: Permission denied" in await open_memory(lab, party, process)


async def test_a_user_of_its_own(network: Lab) -> None:
    """As the packaged services run: all works with CAP_NET_ADMIN alone, root's commands reach them, and
    nothing is left behind, also not after a crash.
    """
    lab = network
    parties = (Party.USER, Party.PROVIDER)
    before = {party: await host_state(lab, party) for party in parties}
    key = (await lab.run_nconnect(Party.USER, "id")).stdout.strip()
    up, serve = await connect(lab, key)
    await ping(lab)
    await ping(lab, LAN_HOST6)
    for party, process in ((Party.USER, up), (Party.PROVIDER, serve)):
        assert_only_net_admin(process, OWN_USER)
        # Root finds the instance of that user, and does not take their files away from them.
        assert (await ask_as_root(lab, party, "status")).startswith(process.name)
        assert await ask_as_root(lab, party, "id")
        assert await ask_as_root(lab, party, "down") == f"{process.name} is down\n"
        assert await process.wait(10) == 0
        assert difference(before[party], await host_state(lab, party)) == ""
    up, serve = await connect(lab, key)
    for party, process in ((Party.USER, up), (Party.PROVIDER, serve)):
        process.send_signal(signal.SIGKILL)
        await process.wait(10)
        assert "nftables" in await ask_as_root(lab, party, "cleanup")
        assert difference(before[party], await host_state(lab, party)) == ""
    owners = {path.stat().st_uid for party in parties for path in (lab.directory / party).rglob("*")}
    assert owners == {OWN_USER}
