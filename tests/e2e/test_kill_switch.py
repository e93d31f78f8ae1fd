"""A kill switch: what was routed to the provider goes nowhere else, and one's own networks stay one's own.

::

    user ─── wan0 ──── internet: nconnect devnet ──── provider ──── lan 192.168.77.0/24, fd77:77:77::/64
    nconnect up        192.168.77.20,                 nconnect serve    192.168.77.20, fd77:77:77::20
      │                fd77:77:77::20: a stranger
      │                192.168.77.53: dnsmasq
      └─── home0 ───── home1 192.168.77.20, .53: the machines of a home, which the user joins in some tests
           192.168.77.5/24

The stranger has the addresses of the provider's host, beyond the user's default route: if it hears anything,
packets have leaked. Its side counts them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from nconnect.demo import namespaces, steps
from nconnect.demo.lab import (
    DEVNET_ADDRESS,
    DEVNET_PORT,
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    Lab,
    Party,
    nconnect_command,
)
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.host.journal import boot_id

pytestmark = pytest.mark.netns

HOSTS = (LAN_HOST, LAN_HOST6)
RELAYS = "192.0.0.0/16"
"""Where the devnet is: a part of the Internet, which the user has to accept."""
RESOLVER = "192.168.77.53"
SEED = "seed.example.org"
CLOSED = rf"^kill switch: .*{re.escape(LAN)}, .*unreachable until there is a connection$"
PINGS = 'until ping -c 1 -W 1 "$0" 2>/dev/null; do sleep 0.02; done'
"""One ping after the other, until one is answered; one alone ends at the first route that leads nowhere."""
SOON = 10.0


def addresses_of_a_stranger(lab: Lab) -> None:
    """Who has the addresses of the provider's host as well, and counts what comes there."""
    user, internet = lab.namespace(Party.USER), lab.namespace(Party.INTERNET)
    namespaces.ip(
        "address add 2001:db8:9::2/64 dev wan0 nodad\nroute add default via 2001:db8:9::1 dev wan0\n", user
    )
    namespaces.ip(
        f"address add {LAN_HOST}/32 dev lo\naddress add {LAN_HOST6}/128 dev lo\n"
        f"address add 2001:db8:9::1/64 dev user0 nodad\n",
        internet,
    )
    namespaces.shell(
        f"""nft 'table inet leaks {{ chain input {{ type filter hook input priority 0
            iifname user0 ip daddr {LAN} counter
            iifname user0 ip6 daddr {LAN6} counter
        }}; }}'""",
        internet,
    )


async def leaked(lab: Lab) -> int:
    """How many packets for the provider's networks have come to the stranger's side."""
    rules = (await lab.run(Party.INTERNET, ["nft", "list", "table", "inet", "leaks"])).stdout
    return sum(map(int, re.findall(r"packets (\d+)", rules)))


async def answers(lab: Lab, hosts: Sequence[str] = HOSTS) -> list[bool]:
    """Which of these answer a ping, whoever they are."""
    pings = [await lab.run(Party.USER, ["ping", "-c", "1", "-W", "2", host], check=False) for host in hosts]
    return [one.returncode == 0 for one in pings]


def join_home(lab: Lab) -> None:
    """The user's machine enters a network that is like the provider's."""
    user, internet = lab.namespace(Party.USER), lab.namespace(Party.INTERNET)
    namespaces.ip(f"link add home0 netns {user} type veth peer name home1 netns {internet}")
    namespaces.ip("address add 192.168.77.5/24 dev home0\nlink set home0 up\n", user)
    namespaces.ip(
        f"address add {LAN_HOST}/24 dev home1\naddress add {RESOLVER}/24 dev home1\nlink set home1 up\n",
        internet,
    )


async def start_provider(lab: Lab) -> tuple[Process, Process, str]:
    """Devnet, provider, and its address."""
    devnet = await steps.start_devnet(lab)
    return devnet, *await start_serve(lab)


async def start_serve(lab: Lab) -> tuple[Process, str]:
    """The provider, and its address."""
    key = await steps.public_key(lab, Party.USER)
    return await steps.start_serve(lab, lan=(LAN, LAN6), allow=(key,))


def ask_resolver(resolv_conf: Path) -> None:
    """From now on the user's machine asks the name server that it has elsewhere."""
    resolv_conf.write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:2\n")


async def start_resolver(lab: Lab) -> None:
    """A name server in the namespace of the Internet, which knows where the seed is."""
    command = ["dnsmasq", "--no-daemon", "--log-queries", "--user=root", f"--listen-address={RESOLVER}"]
    options = ["--bind-interfaces", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]
    record = f"--host-record={SEED},{DEVNET_ADDRESS}"
    process = lab.start(Party.INTERNET, [*command, *options, record], name="dnsmasq")
    await process.wait_for("started, version", SOON)


async def test_what_was_routed_before_is_closed_before_there_is_a_connection(lab: Lab) -> None:
    """Of a start in vain, too, until it is lifted; the very first start knows of nothing to close."""
    addresses_of_a_stranger(lab)
    before = await host_state(lab, Party.USER)
    devnet, _, address = await start_provider(lab)
    up = await steps.start_up(lab, address, "--kill-switch")
    assert not re.search(CLOSED, up.output(), re.MULTILINE)
    assert await answers(lab) == [True, True]
    assert await leaked(lab) == 0
    assert await up.stop() == 0
    assert await answers(lab) == [True, True], "who ends it in order opens it"
    strangers = await leaked(lab)
    assert strangers == 2
    devnet.kill()
    up = lab.start_nconnect(Party.USER, "up", "--kill-switch", "--peer", address)
    await up.wait_for(CLOSED, steps.START_SECONDS)
    assert await answers(lab) == [False, False]
    assert await up.wait(steps.START_SECONDS) == 1
    assert "kill switch: " in up.output()
    assert await answers(lab) == [False, False]
    assert await leaked(lab) == strangers
    # Who wants no kill switch any more has what an ended one closed until there is a connection.
    await lab.run_nconnect(Party.USER, "up", "--peer", address, check=False)
    assert await answers(lab) == [False, False]
    await lab.run_nconnect(Party.USER, "cleanup")
    assert await answers(lab) == [True, True]
    assert difference(before, await host_state(lab, Party.USER)) == ""
    remembered = lab.directory / Party.USER / "state/closed/up.json"
    assert remembered.stat().st_mode & 0o777 == 0o600


async def test_a_reboot_opens_nothing_once_it_was_started(lab: Lab) -> None:
    """The provider comes up later; packets are sent all the time, and none of them leaks."""
    addresses_of_a_stranger(lab)
    _, serve, address = await start_provider(lab)
    up = await steps.start_up(lab, address, "--kill-switch")
    journal = lab.directory / Party.USER / "state/journal/up.journal"
    old = journal.read_bytes()
    # The machine's run ends: what the kernel held is gone, and the file says which run it was.
    await up.stop()
    journal.write_bytes(old.replace(boot_id().encode(), b"11111111-2222-3333-4444-555555555555"))
    await serve.stop()
    up = lab.start_nconnect(Party.USER, "up", "--wait", "--kill-switch", "--peer", address)
    await up.wait_for(CLOSED, steps.START_SECONDS)
    pings = [lab.start(Party.USER, ["sh", "-c", PINGS, host], name=f"ping {host}") for host in HOSTS]
    assert await answers(lab) == [False, False]
    await start_serve(lab)
    await up.wait_for("^connected to ", steps.START_SECONDS)
    for ping in pings:
        assert await ping.wait(SOON) == 0
    assert await leaked(lab) == 0


async def test_networks_of_another_provider_are_not_closed(lab: Lab) -> None:
    addresses_of_a_stranger(lab)
    _, _, address = await start_provider(lab)
    up = await steps.start_up(lab, address, "--kill-switch")
    await up.stop()
    other = await steps.public_key(lab, Party.INTERNET)
    up = lab.start_nconnect(Party.USER, "up", "--kill-switch", "--peer", other)
    assert await up.wait(steps.START_SECONDS) == 1
    assert "kill switch" not in up.output()
    assert await answers(lab) == [True, True]


@pytest.mark.parametrize("joined", [True, False], ids=["in a network like it", "with a resolver in it"])
async def test_the_next_start_gets_at_its_seed(network: Lab, resolv_conf: Path, joined: bool) -> None:
    """After a crash the machine is elsewhere, and has there what is closed: its network, or its name server.

    While nothing runs, nothing can see that; `status` says what is closed, and by what it is lifted.
    """
    _, address = await start_serve(network)
    up = await steps.start_up(network, address, "--kill-switch")
    up.kill()
    if joined:
        join_home(network)
    else:
        namespaces.ip(f"address add {RESOLVER}/32 dev lo", network.namespace(Party.INTERNET))
    await start_resolver(network)
    ask_resolver(resolv_conf)
    assert await answers(network, [RESOLVER]) == [False]
    status = await network.run_nconnect(Party.USER, "status", check=False)
    assert re.search(
        f"the kill switch of up keeps {LAN}, .* or nconnect down up$", status.stderr, re.MULTILINE
    )
    up = network.start(
        Party.USER,
        nconnect_command("up", "--kill-switch", "--peer", address),
        name="up",
        env={"NCONNECT_SEED_RPC": f"http://{SEED}:{DEVNET_PORT}"},
    )
    await up.wait_for("^connected to ", steps.START_SECONDS)
    assert await answers(network, [RESOLVER]) == [True]
    assert await up.stop() == 0
    assert await answers(network, [RESOLVER]) == [True]


@pytest.mark.parametrize("rp_filter", ["1", "2"], ids=["strict", "loose"])
async def test_a_relay_that_is_closed_itself_is_heard(lab: Lab, rp_filter: str) -> None:
    """Nothing else goes to its network, until a start that does not accept it."""
    switch = f"net.ipv4.conf.wan0.rp_filter={rp_filter}"
    await lab.run(Party.USER, ["sysctl", "-q", "-w", switch])
    namespaces.ip(f"route add {RELAYS} via 203.0.113.1", lab.namespace(Party.PROVIDER))
    before = await host_state(lab, Party.USER)
    await steps.start_devnet(lab)
    key = await steps.public_key(lab, Party.USER)
    serve, address = await steps.start_serve(lab, lan=(LAN, RELAYS), allow=(key,))
    options = ("up", "--wait", "--kill-switch", "--peer", address)
    accepting = (*options, "--accept-route", RELAYS)
    up = lab.start_nconnect(Party.USER, *accepting)
    await up.wait_for("^connected to ", steps.START_SECONDS)
    await up.stop()
    await serve.stop()
    up = lab.start_nconnect(Party.USER, *accepting)
    await up.wait_for(f"^kill switch: .*{re.escape(RELAYS)}, .*unreachable", steps.START_SECONDS)
    assert await answers(lab, [DEVNET_ADDRESS]) == [False]
    serve, _ = await steps.start_serve(lab, lan=(LAN, RELAYS), allow=(key,))
    await up.wait_for("^connected to ", steps.START_SECONDS)
    assert await answers(lab, [LAN_HOST]) == [True]
    await up.stop()
    await serve.stop()
    up = lab.start_nconnect(Party.USER, *options)
    await up.wait_for(CLOSED, steps.START_SECONDS)
    assert await answers(lab, [DEVNET_ADDRESS, LAN_HOST]) == [True, False]
    await up.stop()
    assert difference(before, await host_state(lab, Party.USER)) == ""


@pytest.mark.parametrize("lift", [("cleanup",), ("down", "up")], ids=" ".join)
async def test_a_home_that_is_closed_can_be_opened(network: Lab, lift: tuple[str, ...]) -> None:
    before = await host_state(network, Party.USER)
    _, address = await start_serve(network)
    up = await steps.start_up(network, address, "--kill-switch")
    up.kill()
    join_home(network)
    assert await answers(network, [LAN_HOST]) == [False]
    done = await network.run_nconnect(Party.USER, *lift)
    assert f"unreachable route {LAN} of table" in done.stdout
    assert await answers(network, [LAN_HOST]) == [True]
    assert (await network.run_nconnect(Party.USER, "down", "up", check=False)).returncode == 3
    await network.run(Party.USER, ["ip", "link", "delete", "home0"])
    assert difference(before, await host_state(network, Party.USER)) == ""


@pytest.mark.parametrize("connected", [False, True], ids=["before a connection", "while it is lost"])
async def test_a_home_that_is_joined_meanwhile_is_reached(lab: Lab, connected: bool) -> None:
    """By nobody who could say that the provider's network has another name here."""
    devnet, serve, address = await start_provider(lab)
    up = await steps.start_up(lab, address, "--kill-switch")
    if connected:
        devnet.kill()
        await up.wait_for("^connection lost", steps.START_SECONDS)
    else:
        await up.stop()
        await serve.stop()
        up = lab.start_nconnect(Party.USER, "up", "--wait", "--kill-switch", "--peer", address)
        await up.wait_for(CLOSED, steps.START_SECONDS)
    assert await answers(lab, [LAN_HOST]) == [False]
    join_home(lab)
    async with asyncio.timeout(SOON):
        while await answers(lab, [LAN_HOST]) != [True]:
            pass
    assert await answers(lab, [LAN_HOST6]) == [False], "the rest is as it was"
    up.kill()
    assert await answers(lab, [LAN_HOST]) == [True], "nor does a crash close it"
