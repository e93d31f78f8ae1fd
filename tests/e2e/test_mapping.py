"""The same subnet on both sides: the provider's machines have other addresses here, and one's own stay.

::

    user ──────────────── internet: nconnect devnet ──── provider ───────────── lan
    home0 192.168.77.5    home1 192.168.77.20            lan0 192.168.77.1     192.168.77.20
    nconnect up           "home"                         nconnect serve        "lan"

Both sides have fd77:77:77::/64 as well. The machine at home is in the namespace `internet`, over a link of
its own. Each of the machines says over HTTP which one it is.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nconnect.demo import namespaces, steps
from nconnect.demo.lab import LAN, LAN6, LAN_HOST, LAN_HOST6, PROVIDER_LAN_ADDRESS, Lab, Party
from nconnect.demo.longflow import LongFlow
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.host.networks import contains
from nconnect.tunnel.control import IPNetwork
from nconnect.tunnel.mapping import POOLS
from nconnect.tunnel.status import UpStatus, decode

from .conftest import RESOLV_CONF

pytestmark = pytest.mark.netns

PORT, OTHER_PORT = 8000, 8001
REFUSED = "Couldn't connect to server"
"""What curl says at once, and of a time-out something else."""
FIRST, LAST = "203.0.113.77", "203.0.113.78"
"""Of routes that tell a watch on routes where to begin and to end."""
COMPUTING = [sys.executable, str(Path(__file__).with_name("computing.py"))]
PEER = [sys.executable, str(Path(__file__).with_name("matrix_peer.py"))]


def join_home(lab: Lab) -> None:
    """The user's machine enters a network that is like the provider's."""
    user, internet = lab.namespace(Party.USER), lab.namespace(Party.INTERNET)
    namespaces.ip(f"link add home0 netns {user} type veth peer name home1 netns {internet}")
    namespaces.ip(
        "address add 192.168.77.5/24 dev home0\n"
        "address add fd77:77:77::5/64 dev home0 nodad\n"
        "link set home0 up\n",
        user,
    )
    namespaces.ip(
        f"address add {LAN_HOST}/24 dev home1\n"
        f"address add {LAN_HOST6}/64 dev home1 nodad\n"
        "link set home1 up\n",
        internet,
    )


async def start_web(lab: Lab, party: Party, says: str, port: int = PORT) -> None:
    """Who asks for /who is told the name of the machine."""
    directory = lab.directory / party / f"web-{says}"
    directory.mkdir()
    (directory / "who").write_text(says)
    server = [sys.executable, "-m", "http.server", "--bind", "::", "--directory", str(directory), str(port)]
    await lab.start(party, server, name=f"web-{says}-{port}").wait_for("^Serving HTTP", steps.START_SECONDS)


async def who(lab: Lab, address: str, port: int = PORT, party: Party = Party.USER) -> str:
    """The name of the machine that answers there; what curl says instead if none does."""
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}/who"
    done = await lab.run(party, ["curl", "-sS", "-g", "--max-time", "10", url], check=False)
    return done.stdout or done.stderr


async def seen(lab: Lab, address: str, name: str = "up") -> str:
    """The other name of an address at the provider on the user's machine, as `status --json` has it."""
    found = await here(lab, address, name)
    assert found != address, f"{address} has no other name"
    return found


async def here(lab: Lab, address: str, name: str = "up") -> str:
    """What an address at the provider is called on the user's machine: the same, or another name."""
    answer = await lab.run_nconnect(Party.USER, "status", name, "--json", check=False)
    status = decode(answer.stdout.encode())
    assert isinstance(status, UpStatus)
    for one in status.mappings:
        real, name_here = ip_network(one.real), ip_network(one.seen)
        if (there := ip_address(address)) in real:
            return str(name_here[int(there) - int(real.network_address)])
    return address


@pytest.fixture
async def site(network: Lab) -> Lab:
    """The user is at home, and both machines answer."""
    join_home(network)
    await start_web(network, Party.INTERNET, "home")
    await start_web(network, Party.LAN, "lan")
    return network


async def start_serve(lab: Lab, *more: str, lan: tuple[str, ...] = (LAN, LAN6)) -> tuple[Process, str]:
    return await steps.start_serve(lab, *more, lan=lan, allow=(await steps.public_key(lab, Party.USER),))


async def test_both_machines_with_one_address_answer(site: Lab) -> None:
    """IPv4 and IPv6; `up` and `status` say what is what, and nothing is left of it.

    At no moment does a route lead to the network at home, or to a part of it.
    """
    watch = await watch_routes(site)
    before = {party: await host_state(site, party) for party in (Party.USER, Party.PROVIDER)}
    serve, address = await start_serve(site)
    up = await steps.start_up(site, address)
    mapped, mapped6 = await seen(site, LAN_HOST), await seen(site, LAN_HOST6)
    assert any(ip_address(mapped) in pool for pool in POOLS)
    assert any(ip_address(mapped6) in pool for pool in POOLS)
    assert [await who(site, one) for one in (LAN_HOST, LAN_HOST6)] == ["home"] * 2
    assert [await who(site, one) for one in (mapped, mapped6)] == ["lan"] * 2
    ping = await site.run(Party.USER, ["ping", "-c", "2", "-i", "0.2", mapped])
    assert " 0% packet loss" in ping.stdout

    status = await steps.up_status(site)
    assert status.state == "connected"
    assert [(route.installed, route.reason) for route in status.routes] == [(False, "")] * 2
    line = f"{LAN} at {status.peer_name} → {ip_network(mapped + '/24', strict=False)}"
    assert f"\n{line}\n" in "\n" + up.output()
    assert line in (await site.run_nconnect(Party.USER, "status")).stdout
    routes = await site.run(Party.USER, ["ip", "route", "show", "table", "all", "dev", "nc-up"])
    assert LAN not in routes.stdout

    for party, process in ((Party.USER, up), (Party.PROVIDER, serve)):
        await site.run_nconnect(party, "down")
        assert await process.wait(10) == 0
        assert difference(before[party], await host_state(site, party)) == ""

    routes_seen = await prefixes_of_routes(site, watch)
    assert ip_network(f"{mapped}/24", strict=False) in routes_seen
    own = ip_network(LAN), ip_network(LAN6)
    assert [one for one in routes_seen for network in own if contains(network, one)] == []


async def watch_routes(lab: Lab) -> Process:
    """All changes of routes on the user's machine, of whatever table, from now on."""
    watch = lab.start(Party.USER, ["ip", "monitor", "route"], name="ip-monitor")
    async with asyncio.timeout(steps.START_SECONDS):
        # It does not say when it begins.
        while f"blackhole {FIRST} " not in watch.output():
            await mark(lab, FIRST)
    return watch


async def mark(lab: Lab, address: str) -> None:
    """A route that means nothing, there for a moment, for whoever watches."""
    for change in ("add", "delete"):
        await lab.run(Party.USER, ["ip", "route", change, "blackhole", address])


async def prefixes_of_routes(lab: Lab, watch: Process) -> list[IPNetwork]:
    """Where all the routes led that came or went meanwhile."""
    await mark(lab, LAST)
    await watch.wait_for(f"Deleted blackhole {LAST} ", steps.START_SECONDS)
    # As in "Deleted local 100.64.0.2 dev nc-up table local …": the prefix is the first that is no word.
    found = (re.search(r"^(?:[A-Za-z]+ )*([0-9a-f:]\S*)", line) for line in watch.output().splitlines())
    return [ip_network(match[1]) for match in found if match and "default" not in match[0]]


async def test_the_user_chooses_where_names_come_from(site: Lab) -> None:
    """The first of the given networks of each IP version that has room."""
    pools = "10.99.4.0/23", "fd99:0:0:4::/63"
    _, address = await start_serve(site)
    up = await steps.start_up(site, address, "--map-pool", ",".join(pools))
    mapped = [await seen(site, one) for one in (LAN_HOST, LAN_HOST6)]
    assert all(ip_address(one) in ip_network(pool) for one, pool in zip(mapped, pools, strict=True))
    assert [await who(site, one) for one in mapped] == ["lan"] * 2
    assert await up.stop() == 0
    # One of those two networks is in use by then, so the other one is taken.
    taken = ip_network(f"{mapped[0]}/24", strict=False)
    await site.run(Party.USER, ["ip", "route", "add", str(taken), "via", "198.51.100.1"])
    await steps.start_up(site, address, "--map-pool", ",".join(pools))
    other = await seen(site, LAN_HOST)
    assert ip_address(other) in ip_network(pools[0])
    assert ip_address(other) not in taken
    assert await who(site, other) == "lan"


async def test_the_name_is_the_same_one_tomorrow(site: Lab) -> None:
    _, address = await start_serve(site)
    found = []
    for _ in range(2):
        up = await steps.start_up(site, address)
        found.append(await seen(site, LAN_HOST))
        await up.stop()
    assert found[0] == found[1]


async def test_names_mean_the_other_address(site: Lab, resolv_conf: Path) -> None:
    """By the name the user reaches the provider's machine, not the one at home with the same address."""
    _, address = await start_serve(site, "--host", f"gpu={LAN_HOST}")
    up = await steps.start_up(site, address, "--resolv-conf", "--name", "office")
    mapped = await seen(site, LAN_HOST, "office")
    found = await site.run(Party.USER, ["getent", "ahostsv4", "gpu.office.nc"])
    assert found.stdout.split()[0] == mapped
    assert await who(site, "gpu.office.nc") == "lan"
    assert await up.stop() == 0
    assert await asyncio.to_thread(resolv_conf.read_text) == RESOLV_CONF


async def test_grants_are_about_real_addresses(site: Lab) -> None:
    """One port of the LAN; the provider's own address stays closed by any name."""
    await start_web(site, Party.LAN, "lan too", OTHER_PORT)
    await start_web(site, Party.PROVIDER, "provider")
    key = await steps.public_key(site, Party.USER)
    _, address = await steps.start_serve(site)
    await site.run_nconnect(Party.PROVIDER, "allow", key, "--to", f"{LAN}:{PORT}/tcp")
    await steps.start_up(site, address)
    mapped, provider = await seen(site, LAN_HOST), await seen(site, PROVIDER_LAN_ADDRESS)
    assert await who(site, mapped) == "lan"
    assert REFUSED in await who(site, mapped, OTHER_PORT)
    assert REFUSED in await who(site, provider)

    await site.run_nconnect(Party.PROVIDER, "allow", key, "--to", f"{LAN_HOST}:{OTHER_PORT}/tcp")
    # Now one address is offered, which goes by the name that it had in its network.
    assert await eventually_seen(site, LAN_HOST, f"{mapped}/32")
    assert await who(site, mapped, OTHER_PORT) == "lan too"
    assert REFUSED in await who(site, mapped)


async def eventually_seen(lab: Lab, real: str, here: str) -> bool:
    for _ in range(100):
        mappings = (await steps.up_status(lab)).mappings
        if [(one.real, one.seen) for one in mappings] == [(f"{real}/32", here)]:
            return True
    return False


async def test_nobody_elses_packets_go_by_it(network: Lab) -> None:
    """Another user sends to the same addresses, whatever its routes say."""
    lab = network
    await start_web(lab, Party.LAN, "lan")
    other = await steps.public_key(lab, Party.INTERNET)
    _, address = await start_serve(lab, "--allow", other)
    second = lab.start_nconnect(Party.INTERNET, "up", "--peer", address, "--no-map")
    await second.wait_for("^connected to ", steps.START_SECONDS)
    join_home(lab)
    await steps.start_up(lab, address)
    mapped, mapped6 = await seen(lab, LAN_HOST), await seen(lab, LAN_HOST6)
    assert await who(lab, mapped) == "lan"
    for one in (mapped, mapped6):
        await lab.run(Party.INTERNET, ["ip", "route", "add", one, "dev", "nc-up"])
    tries = await lab.run(Party.INTERNET, [*PEER, "try", "nc-up", "-", mapped, mapped6])
    assert json.loads(tries.stdout) == {mapped: "rrrr", mapped6: "rrrr"}


async def test_the_user_chooses_the_name(network: Lab) -> None:
    """Also where nothing is in the way, and for a part of what is offered."""
    lab = network
    await start_web(lab, Party.LAN, "lan")
    _, address = await start_serve(lab)
    up = await steps.start_up(lab, address, "--map", f"{LAN}=10.99.1.0/24,{LAN_HOST6}/128=fd99::7/128")
    assert await who(lab, "10.99.1.20") == "lan"
    assert await who(lab, "fd99::7") == "lan"
    assert await who(lab, LAN_HOST6) == "lan"
    routes = await lab.run(Party.USER, ["ip", "route", "show", "table", "all", "dev", "nc-up"])
    assert LAN not in routes.stdout
    assert f"{LAN} at " in up.output()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--map", f"{LAN}=192.168.77.0/25"), "one version and length"),
        (("--map", f"{LAN}=8.8.8.0/24"), "8.8.8.0/24 cannot stand for another network"),
        (("--map", f"{LAN}=10.0.0.0/24", "--map", f"{LAN_HOST}/32=10.0.1.1/32"), "overlap"),
        (("--map", f"{LAN}=198.51.100.0/24"), "overlaps 198.51.100.0/30 (wan0): nothing was changed"),
        (("--map-pool", "198.51.100.0/30"), "no other name is free in 198.51.100.0/30"),
        (("--no-map",), "this machine is itself in 192.168.77.0/24 (home0): nothing was changed"),
        (("--no-map", "--map-pool", "10.0.0.0/8"), "leaves nothing for --map-pool"),
    ],
)
async def test_what_cannot_be_mapped(site: Lab, options: tuple[str, ...], says: str) -> None:
    before = await host_state(site, Party.USER)
    _, address = await start_serve(site, lan=(LAN,))
    answer = await site.run_nconnect(Party.USER, "up", "--peer", address, *options, check=False)
    assert answer.returncode in (2, 4)
    assert says in answer.stderr.replace("\n", " ")
    assert difference(before, await host_state(site, Party.USER)) == ""


async def test_without_mappings_the_rest_is_there(site: Lab) -> None:
    await site.run(Party.PROVIDER, ["ip", "route", "add", "10.77.0.0/16", "dev", "lan0"])
    _, address = await start_serve(site, lan=(LAN, "10.77.0.0/16"))
    await steps.start_up(site, address, "--no-map")
    status = await steps.up_status(site)
    assert (status.state, status.mappings) == ("degraded", [])
    installed = {route.prefix: route.installed for route in status.routes}
    assert installed == {LAN: False, "10.77.0.0/16": True}
    assert await who(site, LAN_HOST) == "home"


async def test_it_goes_on_when_the_provider_is_started_again(site: Lab) -> None:
    """A TCP connection by the other name: none of its packets is refused, as the user brings the name."""
    serve, address = await start_serve(site)
    await steps.start_up(site, address)
    mapped = await seen(site, LAN_HOST)
    flow = await LongFlow.start(site, mapped)
    serve.kill()
    await start_serve(site)
    await flow.goes_on(60)
    assert await seen(site, LAN_HOST) == mapped


async def test_the_end_of_a_lease_is_told_to_servers_by_another_name(site: Lab) -> None:
    """One that computes for nobody hears of it by a packet that goes through the same translation."""
    _, address = await start_serve(site, "--lease", "3s")
    up = await steps.start_up(site, address)
    server = site.start(Party.LAN, [*COMPUTING, "serve"], name="computing")
    await server.wait_for("^ready$", steps.START_SECONDS)
    site.start(Party.USER, [*COMPUTING, "ask", await seen(site, LAN_HOST)], name="asking")
    await server.wait_for("^asked$", steps.START_SECONDS)
    up.kill()
    await server.wait_for("^reset$", 60)


async def test_a_network_that_is_joined_later(network: Lab) -> None:
    """A laptop comes home: from then on another name leads to the provider, also after it has left again."""
    lab = network
    await start_web(lab, Party.LAN, "lan")
    await start_web(lab, Party.INTERNET, "home")
    _, address = await start_serve(lab)
    up = await steps.start_up(lab, address)
    assert await who(lab, LAN_HOST) == "lan"
    join_home(lab)
    await up.wait_for(rf"^{LAN} at \S+ → ", 20)
    await up.wait_for(rf"^{LAN6} at \S+ → ", 20)
    mapped = await seen(lab, LAN_HOST)
    assert (await who(lab, LAN_HOST), await who(lab, mapped)) == ("home", "lan")
    namespaces.ip("link delete home0", lab.namespace(Party.USER))
    for _ in range(100):
        if all(route.installed for route in (await steps.up_status(lab)).routes):
            break
    assert (await who(lab, LAN_HOST), await who(lab, mapped)) == ("lan", "lan")


@pytest.fixture
def second_lan(lab: Lab) -> Iterator[str]:
    """A network behind `internet` that is like the provider's, with a machine of its own."""
    name, internet = f"nc-{lab.identifier}-lan2", lab.namespace(Party.INTERNET)
    namespaces.ip(f"netns add {name}\nlink add lan2 netns {internet} type veth peer name eth0 netns {name}")
    namespaces.ip(f"address add {LAN_HOST}/24 dev eth0\nlink set eth0 up\nlink set lo up", name)
    namespaces.ip("address add 192.168.77.2/24 dev lan2\nlink set lan2 up", internet)
    yield name
    namespaces.remove([name])


@pytest.fixture
async def two_providers(network: Lab, second_lan: str) -> tuple[str, str]:
    """The second provider is in `internet`, its LAN behind that. Their addresses.

    ::

        user ─┬─ internet ─── provider ── lan 192.168.77.20
              └─ (its own serve) ──────── lan2 192.168.77.20
    """
    lab = network
    await start_web(lab, Party.LAN, "lan")
    _, first = await start_serve(lab, lan=(LAN,))
    key = await steps.public_key(lab, Party.USER)
    serve = lab.start_nconnect(Party.INTERNET, "serve", "--lan", LAN, "--allow", key)
    second = (await serve.wait_for(r"^serving .* at (\S+)$", steps.START_SECONDS))[1]
    directory = lab.directory / "web-lan2"
    directory.mkdir()
    (directory / "who").write_text("lan2")
    web = [sys.executable, "-m", "http.server", "--directory", str(directory), str(PORT)]
    entered = ["ip", "netns", "exec", second_lan, *web]
    await lab.start(Party.LAN, entered, name="web-lan2").wait_for("^Serving HTTP", steps.START_SECONDS)
    return first, second


async def test_two_providers_with_one_lan(network: Lab, two_providers: tuple[str, str]) -> None:
    lab, (first, second) = network, two_providers
    await steps.start_up(lab, first)
    up = lab.start_nconnect(Party.USER, "up", "--peer", second, "--name", "two", name="up-two")
    await up.wait_for("^connected to ", steps.START_SECONDS)
    mapped = await seen(lab, LAN_HOST, "two")
    assert (await who(lab, LAN_HOST), await who(lab, mapped)) == ("lan", "lan2")
    await lab.run_nconnect(Party.USER, "down", "up")
    assert await who(lab, mapped) == "lan2"


async def test_two_connections_that_start_together(network: Lab, two_providers: tuple[str, str]) -> None:
    """Neither saw the other's networks when it chose; each finds its own in the end."""
    lab = network
    names = ("one", "two")
    ups = [
        lab.start_nconnect(Party.USER, "up", "--peer", address, "--name", name, name=f"up-{name}")
        for name, address in zip(names, two_providers, strict=True)
    ]
    for up in ups:
        await up.wait_for("^connected to ", steps.START_SECONDS)

    async def answers() -> list[str]:
        return [await who(lab, await here(lab, LAN_HOST, name)) for name in names]

    async with asyncio.timeout(steps.START_SECONDS):
        while True:
            if await answers() == ["lan", "lan2"]:
                break
            await asyncio.sleep(0.2)


async def test_a_bridge_of_this_machine(network: Lab) -> None:
    """As Docker and libvirt make them: nothing is connected to it as yet."""
    bridge = "link add docker0 type bridge\naddress add 192.168.77.1/24 dev docker0\nlink set docker0 up\n"
    namespaces.ip(bridge, network.namespace(Party.USER))
    await start_web(network, Party.LAN, "lan")
    _, address = await start_serve(network)
    await steps.start_up(network, address)
    assert await who(network, await seen(network, LAN_HOST)) == "lan"
    routes = await network.run(Party.USER, ["ip", "route", "show", "table", "all", "dev", "nc-up"])
    assert LAN not in routes.stdout
