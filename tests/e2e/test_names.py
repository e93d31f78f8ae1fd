"""The provider's names on the user's machine, by resolv.conf.

::

    user                   internet              provider                 lan 192.168.77.0/24
    getent ─ resolv.conf                         nconnect serve           .20  dnsmasq: lan
    ├ 127.78.67.x          nconnect devnet       --dns 192.168.77.20      .121 camera, by DHCP
    │ nconnect up ────────────────────────────── --domain lan
    └ 127.0.0.2                                  --host gpu=192.168.77.20
      dnsmasq: the user's own resolver

The user has an /etc and a host name of its own: what stands in this machine's is not touched.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nconnect.demo import steps
from nconnect.demo.lab import (
    DEVNET_ADDRESS,
    DEVNET_PORT,
    LAN,
    LAN6,
    LAN_HOST,
    LAN_HOST6,
    PROVIDER_LAN_ADDRESS,
    Lab,
    Party,
    nconnect_command,
)
from nconnect.demo.process import Process
from nconnect.demo.snapshot import difference, host_state
from nconnect.tunnel.status import UpStatus

from .conftest import OWN_RESOLVER, RESOLV_CONF

pytestmark = pytest.mark.netns

SEED = "seed.example.org"
ELSEWHERE = "198.51.100.77"
INSIDE = "192.168.77.53"
INSIDE_CONF = f"nameserver {INSIDE}\noptions timeout:1 attempts:2\n"
COPIED = ("passwd", "group", "nsswitch.conf", "hosts", "ld.so.cache", "protocols", "services", "alternatives")
"""Of /etc: what programs here cannot do without."""
MACHINE = "laptop"
"""What the user's machine is called."""
LEASED = "192.168.77.121"
DHCP_LEASES = f"0 02:00:00:00:00:21 {LEASED} camera *\n"
"""What the LAN's resolver, which is its DHCP server as well, has given out: until when, to whom."""
LAN_NAMES = (
    "--local=/lan/",
    f"--host-record=nas.lan,{LAN_HOST},{LAN_HOST6}",
    "--cname=www.lan,nas.lan",
    "--address=/evil.lan/127.0.0.1",
    f"--host-record=printer,{LAN_HOST}",
)
OWN_NAMES = (
    f"--host-record=shop.example.org,{ELSEWHERE}",
    f"--host-record={SEED},{DEVNET_ADDRESS}",
)
NAMES = ("--dns", LAN_HOST, "--domain", "lan,example.org", "--host", f"gpu={LAN_HOST},evil=10.99.99.9")


@dataclass
class User:
    """The user's machine, with an /etc of its own, and a resolver that knows one name."""

    lab: Lab
    etc: Path
    address: str
    """The provider's."""
    lan_dns: Process
    own_dns: Process

    def inside(self, *argv: str) -> list[str]:
        """The command, with this /etc and on a machine of this name."""
        return called(MACHINE, "sh", "-ec", 'mount --bind "$0" /etc; exec "$@"', str(self.etc), *argv)

    async def up(self, *options: str) -> Process:
        command = nconnect_command("up", "--peer", self.address, *options)
        env = {"NCONNECT_SEED_RPC": f"http://{SEED}:{DEVNET_PORT}"}
        process = self.lab.start(Party.USER, self.inside(*command), name="up", env=env)
        await process.wait_for("^connected to ", steps.START_SECONDS)
        return process

    async def nconnect(self, *arguments: str) -> str:
        done = await self.lab.run(Party.USER, self.inside(*nconnect_command(*arguments)), check=False)
        return done.stdout

    async def look_up(self, name: str) -> list[str]:
        """The addresses of a name, as any program gets them from the C library."""
        command = self.inside("getent", "ahosts", name)
        done = await self.lab.run(Party.USER, command, check=False)
        return sorted({line.split()[0] for line in done.stdout.splitlines()})

    async def name_of(self, address: str) -> str:
        """The name of an address; empty if it has none."""
        done = await self.lab.run(Party.USER, self.inside("getent", "hosts", address), check=False)
        return done.stdout.split()[1] if done.stdout else ""

    def seed_questions(self) -> int:
        """How often the user's own resolver was asked for the seed."""
        return self.own_dns.output().count(f"] {SEED} from ")

    def resolv_conf(self) -> str:
        return (self.etc / "resolv.conf").read_text()


def called(name: str, *argv: str) -> list[str]:
    """The command on a machine of this name."""
    script = 'echo "$0" >/proc/sys/kernel/hostname; exec "$@"'
    return ["unshare", "--uts", "sh", "-ec", script, name, *argv]


async def start_dns(lab: Lab, party: Party, address: str, *names: str) -> Process:
    options = ("--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces", "--pid-file=")
    command = ["dnsmasq", "--no-daemon", "--log-queries", "--user=root", f"--listen-address={address}"]
    process = lab.start(party, [*command, *options, *names], name="dnsmasq")
    await process.wait_for("started", steps.START_SECONDS)
    return process


@pytest.fixture(params=["file", "link"])
async def user(network: Lab, request: pytest.FixtureRequest) -> AsyncIterator[User]:
    etc = network.directory / "etc"
    etc.mkdir()
    for name in COPIED:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, etc / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, etc / name)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    if request.param == "link":
        (etc / "manager.conf").write_text(RESOLV_CONF)
        (etc / "resolv.conf").symlink_to("manager.conf")
    else:
        (etc / "resolv.conf").write_text(RESOLV_CONF)
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, *NAMES, lan=(LAN, LAN6), allow=(key,))
    leases = network.directory / "leases"
    leases.write_text(DHCP_LEASES)
    dhcp = ("--domain=lan", f"--dhcp-range={LEASED},{LEASED}", f"--dhcp-leasefile={leases}")
    lan_dns = await start_dns(network, Party.LAN, LAN_HOST, *LAN_NAMES, *dhcp)
    own_dns = await start_dns(network, Party.USER, OWN_RESOLVER, *OWN_NAMES)
    yield User(network, etc, address, lan_dns, own_dns)
    assert (etc / "resolv.conf").is_symlink() is (request.param == "link")
    assert (etc / "resolv.conf").read_text() == RESOLV_CONF


async def test_names(user: User) -> None:
    before = await host_state(user.lab, Party.USER)
    up = await user.up("--resolv-conf", "--name", "office")
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await user.look_up("www.lan") == [LAN_HOST, LAN_HOST6]
    assert await user.look_up("gpu.office.nc") == [LAN_HOST]
    assert await user.look_up("nas.office.nc") == [LAN_HOST, LAN_HOST6]
    assert await user.look_up("printer.office.nc") == [LAN_HOST]
    assert await user.look_up("camera.office.nc") == [LEASED]
    assert len(await user.look_up("gateway.office.nc")) == 2
    assert await user.name_of(LAN_HOST) == "gpu.office.nc"

    # What is not the provider's to say.
    assert await user.look_up("evil.lan") == []
    assert await user.look_up("evil.office.nc") == []
    assert await user.look_up("shop.example.org") == [ELSEWHERE]
    assert await user.look_up("nobody.example.org") == []
    assert "example.org" not in user.lan_dns.output()
    assert "left out the domain example.org: names of the Internet" in up.output()

    shown = await user.nconnect("status")
    assert "gpu.office.nc, gateway.office.nc, laptop.office.nc, *.lan" in shown
    assert "/etc/resolv.conf asks 127.78.67." in shown

    assert await up.stop() == 0
    assert difference(before, await host_state(user.lab, Party.USER)) == ""


async def test_a_lease_has_the_name_of_its_machine(user: User) -> None:
    """On that machine; another user's machine hears neither its name nor its address."""
    lab = user.lab
    await lab.run_nconnect(Party.PROVIDER, "allow", await steps.public_key(lab, Party.INTERNET))
    other = lab.start(
        Party.INTERNET, called("desk", *nconnect_command("up", "--peer", user.address)), name="up"
    )
    await other.wait_for("^connected to ", steps.START_SECONDS)
    up = await user.up("--resolv-conf", "--name", "office")
    own, others = await steps.up_status(lab), await steps.status(lab, Party.INTERNET)
    assert isinstance(others, UpStatus)
    assert await user.look_up("laptop.office.nc") == sorted(own.addresses)
    for address in own.addresses:
        assert await user.name_of(address) == "laptop.office.nc"
    assert await user.look_up("desk.office.nc") == []
    for address in others.addresses:
        assert await user.name_of(address) == ""
    assert await up.stop() == 0


async def test_a_domain_of_the_internet_is_the_providers_if_the_user_says_so(user: User) -> None:
    up = await user.up("--resolv-conf", "--accept-domain", "example.org")
    assert await user.look_up("shop.example.org") == [], "the provider's resolver knows of no such name"
    assert "query[A] shop.example.org" in user.lan_dns.output()
    assert await up.stop() == 0
    assert await user.look_up("shop.example.org") == [ELSEWHERE]


async def test_after_a_crash(user: User) -> None:
    up = await user.up("--resolv-conf")
    up.kill()
    assert user.resolv_conf() != RESOLV_CONF
    assert await user.look_up("shop.example.org") == [ELSEWHERE], "the next resolver is asked"
    assert "undone: resolver 127.78.67." in await user.nconnect("cleanup")
    assert user.resolv_conf() == RESOLV_CONF


async def test_a_crash_and_the_next_start(user: User) -> None:
    up = await user.up("--resolv-conf")
    up.kill()
    up = await user.up("--resolv-conf")
    assert user.resolv_conf().count("nameserver") == 2
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    up.kill()
    up = await user.up("--no-names")
    assert user.resolv_conf() == RESOLV_CONF, "the next one wants no names"
    assert await up.stop() == 0


async def test_without_the_users_word_nothing_is_told(user: User) -> None:
    up = await user.up()
    assert user.resolv_conf() == RESOLV_CONF
    assert await user.look_up("nas.lan") == []
    hint = await up.wait_for(
        r"programs do not know the tunnel's names: systemd-resolved does not run; "
        r"--resolv-conf lets them ask our resolver, (127\.78\.67\.\d+) port 53$",
        steps.START_SECONDS,
    )
    # Who knows how asks it all the same.
    own = user.own_dns
    await own.stop()
    user.own_dns = await start_dns(user.lab, Party.USER, OWN_RESOLVER, *OWN_NAMES, f"--server=/lan/{hint[1]}")
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0


async def test_a_network_that_has_another_name_here(user: User) -> None:
    up = await user.up("--resolv-conf", "--map", f"{LAN}=10.201.7.0/24", "--name", "office")
    assert await user.look_up("nas.lan") == ["10.201.7.20", LAN_HOST6]
    assert await user.look_up("gpu.office.nc") == ["10.201.7.20"]
    assert await user.look_up("camera.office.nc") == ["10.201.7.121"]
    assert await user.name_of("10.201.7.20") == "gpu.office.nc"
    assert f"query[A] nas.lan from {PROVIDER_LAN_ADDRESS}" in user.lan_dns.output()
    assert await up.stop() == 0


async def test_who_finds_no_names_finds_the_way_back(user: User) -> None:
    """All relays go, and while no resolver answers they come back: the seed's name is known from before."""
    up = await user.up("--resolv-conf")
    [devnet] = [process for process in user.lab.processes if process.name == "devnet"]
    await user.own_dns.stop()
    await devnet.stop()
    await up.wait_for("^connection lost", steps.START_SECONDS)
    assert await user.look_up(SEED) == []
    await steps.start_devnet(user.lab)
    await up.wait_for("(?s)connection lost.*^connected to ", steps.START_SECONDS)
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0


# --- a resolver inside an offered prefix ---


@pytest.fixture
async def inside(user: User) -> AsyncIterator[User]:
    """The user's only resolver has an address of the offered prefix, and is in the Internet.

    ::

        user ── default route ── internet, 192.168.77.53: dnsmasq, which knows the seed
         └ nc-up: 192.168.77.0/24, the provider's LAN, where nobody has that address
    """
    await user.lab.run(Party.INTERNET, ["ip", "address", "add", f"{INSIDE}/32", "dev", "lo"])
    await user.own_dns.stop()
    user.own_dns = await start_dns(user.lab, Party.INTERNET, INSIDE, *OWN_NAMES)
    conf = user.etc / "resolv.conf"
    conf.write_text(INSIDE_CONF)
    yield user
    assert conf.read_text() == INSIDE_CONF
    conf.write_text(RESOLV_CONF)


async def test_a_resolver_inside_an_offered_prefix(inside: User) -> None:
    """All relays die and others take their place: the seed's name is asked for outside the tunnel again."""
    up = await inside.up("--resolv-conf")
    assert await inside.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await inside.look_up("shop.example.org") == [ELSEWHERE]
    asked = inside.seed_questions()
    [devnet] = [process for process in inside.lab.processes if process.name == "devnet"]
    devnet.kill()
    await up.wait_for("^connection lost", steps.START_SECONDS)
    assert await inside.look_up(SEED) == [DEVNET_ADDRESS], "while the tunnel is down, and its routes stand"
    await steps.start_devnet(inside.lab)
    await up.wait_for("(?s)connection lost.*^connected to ", steps.START_SECONDS)
    assert inside.seed_questions() > asked + 1
    assert await inside.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0


@pytest.mark.parametrize("user", ["file"], indirect=True)
@pytest.mark.parametrize("options", [(), ("--kill-switch",)], ids=["open", "closed"])
async def test_a_start_while_an_old_state_stands(inside: User, options: tuple[str, ...]) -> None:
    """What was killed left its firewall and its resolver, with a kill switch also a prefix that is closed."""
    up = await inside.up("--resolv-conf", *options)
    up.kill()
    assert inside.resolv_conf() != INSIDE_CONF
    asked = inside.seed_questions()
    up = await inside.up("--resolv-conf", *options)
    assert inside.seed_questions() > asked
    assert await inside.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0


@pytest.mark.parametrize("user", ["file"], indirect=True)
async def test_a_start_that_finds_no_resolver(user: User) -> None:
    """This machine's own asks one in a prefix that a kill switch has closed, of which we cannot know."""
    await user.lab.run(Party.INTERNET, ["ip", "address", "add", f"{INSIDE}/32", "dev", "lo"])
    beyond = await start_dns(user.lab, Party.INTERNET, INSIDE, *OWN_NAMES)
    await user.own_dns.stop()
    user.own_dns = await start_dns(user.lab, Party.USER, OWN_RESOLVER, f"--server={INSIDE}")
    up = await user.up("--resolv-conf", "--kill-switch")
    assert SEED in beyond.output()
    up.kill()
    assert await user.look_up(SEED) == []
    up = await user.up("--resolv-conf", "--kill-switch")
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0
    assert await user.look_up(SEED) == [DEVNET_ADDRESS]


async def test_a_resolver_on_the_provider_itself(user: User) -> None:
    """Its own addresses are closed to users; the port of the resolver that it offers is not."""
    lab = user.lab
    key = await steps.public_key(lab, Party.USER)
    await lab.run_nconnect(Party.PROVIDER, "down")
    await start_dns(lab, Party.PROVIDER, PROVIDER_LAN_ADDRESS, *LAN_NAMES)
    options = ("--dns", PROVIDER_LAN_ADDRESS, "--domain", "lan")
    await steps.start_serve(lab, *options, lan=(LAN, LAN6), allow=(key,))
    up = await user.up("--resolv-conf")
    assert await user.look_up("nas.lan") == [LAN_HOST, LAN_HOST6]
    assert await up.stop() == 0


async def test_who_is_granted_one_service_hears_of_it_alone(user: User) -> None:
    lab = user.lab
    key = await steps.public_key(lab, Party.USER)
    await lab.run_nconnect(Party.PROVIDER, "down")
    await lab.run_nconnect(Party.PROVIDER, "allow", key, "--to", f"{LAN_HOST}:80/tcp")
    more = ("--host", f"gpu={LAN_HOST},router={PROVIDER_LAN_ADDRESS}", "--dns", LAN_HOST, "--domain", "lan")
    await steps.start_serve(lab, *more)
    up = await user.up("--resolv-conf", "--name", "office")
    assert await user.look_up("gpu.office.nc") == [LAN_HOST]
    assert await user.look_up("router.office.nc") == []
    assert await user.look_up("nas.lan") == []
    assert "query" not in user.lan_dns.output()
    status = await user.nconnect("status")
    assert "gpu.office.nc, gateway.office.nc, laptop.office.nc\n" in status
    assert await up.stop() == 0


async def test_a_resolv_conf_that_is_a_mount(network: Lab, resolv_conf: Path) -> None:
    """As in a container: it can be written and not be replaced."""
    key = await steps.public_key(network, Party.USER)
    _, address = await steps.start_serve(network, "--host", f"gpu={LAN_HOST}", allow=(key,))
    up = await steps.start_up(network, address, "--resolv-conf", "--name", "office")
    found = await network.run(Party.USER, ["getent", "ahostsv4", "gpu.office.nc"])
    assert found.stdout.startswith(LAN_HOST)
    up.kill()
    await network.run_nconnect(Party.USER, "cleanup")
    assert await asyncio.to_thread(resolv_conf.read_text) == RESOLV_CONF
