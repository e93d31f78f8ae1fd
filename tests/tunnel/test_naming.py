"""A provider's names on the user's machine: which it may have, and who is told to ask for them."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from nconnect.errors import HostError
from nconnect.host import networks, resolvconf, resolved
from nconnect.names.listening import HIGH_PORT, bind
from nconnect.tunnel import control
from nconnect.tunnel.mapping import Mapping
from nconnect.tunnel.naming import RESOLVED, Naming, NamingOptions

from ..host.fake_resolved import FakeResolved

LAN = ip_network("192.168.1.0/24")
GATEWAY = ip_network("100.64.0.1/32")
WELCOME = control.Welcome(
    addresses=(ip_address("100.64.0.2"),),
    gateways=(ip_address("100.64.0.1"),),
    mtu=1500,
    routes=(LAN,),
    name="GPU box",
    dns=(ip_address("192.168.1.1"),),
    domains=("lan", "example.com"),
    hosts=(
        control.Host("gpu", (ip_address("192.168.1.20"), ip_address("10.0.0.1"))),
        control.Host("me", (ip_address("127.0.0.1"),)),
    ),
)
REVERSE = ["1.168.192.in-addr.arpa", "1.0.64.100.in-addr.arpa", "2.0.64.100.in-addr.arpa"]
MACHINE = "My-Laptop.home.example"
"""What the user's machine is called."""


class User:
    """A user's machine with systemd-resolved, or without."""

    def __init__(self, fake: FakeResolved) -> None:
        self.resolved = fake
        self.said: list[str] = []
        self.options = NamingOptions(bind("tests"))
        self.own_domains: list[str] = []
        self.own_resolvers: list[object] = []
        self._naming: Naming | None = None

    @property
    def naming(self) -> Naming:
        if self._naming is None:
            self._naming = Naming(self.options, "lo", self.said.append)
        return self._naming

    async def connect(self, welcome: control.Welcome = WELCOME, *mappings: Mapping) -> None:
        await self.naming.start()
        await self.update(welcome, *mappings)

    async def update(self, welcome: control.Welcome, *mappings: Mapping) -> None:
        reachable = [one.seen for one in mappings] or list(welcome.routes)
        self.naming.update(welcome, [*reachable, GATEWAY], mappings)
        await self.naming.settled()

    async def ask(self, name: str, kind: str = "A") -> list[str]:
        sockets = self.options.sockets
        query = dns.message.make_query(name, kind)
        answer = await dns.asyncquery.udp(query, str(sockets.address), timeout=10, port=sockets.port)
        if answer.rcode() == dns.rcode.REFUSED:
            return ["not ours"]
        return [one.to_text() for rrset in answer.answer for one in rrset]

    async def close(self) -> None:
        if self._naming is not None:
            await self._naming.close()
        else:
            self.options.sockets.close()


@pytest.fixture
async def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[User]:
    fake = FakeResolved(tmp_path / "bus")
    await fake.start()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={fake.path}")
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 127.0.0.53\n")
    monkeypatch.setattr(resolvconf, "PATH", conf)
    monkeypatch.setattr(resolved, "NSSWITCH", tmp_path / "none")
    user = User(fake)
    monkeypatch.setattr(socket, "gethostname", lambda: MACHINE)
    monkeypatch.setattr(networks, "search_domains", lambda: user.own_domains)
    monkeypatch.setattr(networks, "nameservers", lambda: user.own_resolvers)
    yield user
    await user.close()
    await fake.close()


async def test_systemd_resolved_asks_for_the_providers_domains(user: User) -> None:
    await user.connect()
    assert user.resolved.domains == ["gpu-box.nc", "lan", *REVERSE]
    sockets = user.options.sockets
    method, _, [(_, address, port, _)] = user.resolved.calls[0]
    assert (method, address, port) == ("SetLinkDNSEx", sockets.address.packed, sockets.port)
    assert await user.ask("gpu.gpu-box.nc") == ["192.168.1.20"]
    assert await user.ask("20.1.168.192.in-addr.arpa", "PTR") == ["gpu.gpu-box.nc."]
    assert await user.ask("example.com") == ["not ours"]
    status = user.naming.status()
    assert (status.via, status.reason) == (RESOLVED, "")
    assert status.hosts == ["gpu.gpu-box.nc", "gateway.gpu-box.nc", "my-laptop.gpu-box.nc"]
    assert status.domains == ["lan"]
    assert status.resolvers == ["192.168.1.1"]
    assert user.naming.resolver == "", "resolv.conf stays as it is"


async def test_only_what_is_new_is_told(user: User) -> None:
    await user.connect()
    told = len(user.resolved.calls)
    await user.update(WELCOME)
    assert len(user.resolved.calls) == told
    more = ip_network("10.9.0.0/16")
    await user.update(dataclasses.replace(WELCOME, routes=(LAN, more)))
    assert "9.10.in-addr.arpa" in user.resolved.domains


async def test_a_resolved_that_is_started_again_is_told_again(user: User) -> None:
    await user.connect()
    user.resolved.calls.clear()
    user.naming.check()
    await user.naming.settled()
    assert user.resolved.calls == []
    user.resolved.owner = ":1.99"
    user.naming._next_check = 0.0  # time has passed
    user.naming.check()
    await user.naming.settled()
    assert user.resolved.domains == ["gpu-box.nc", "lan", *REVERSE]


async def test_a_link_that_was_made_again_is_told_again(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    await user.connect()
    monkeypatch.setattr(socket, "if_nametoindex", lambda link: 99)
    await user.update(WELCOME)
    assert user.resolved.calls[-1][:2] == ("SetLinkDomains", 99)


async def test_one_that_is_started_later(user: User) -> None:
    user.resolved.owner = ""
    await user.connect()
    assert user.said[-1].startswith(
        "warning: programs do not know the tunnel's names: systemd-resolved does not run; --resolv-conf"
    )
    assert user.naming.status().via == ""
    user.resolved.owner = ":1.8"
    user.naming.check()
    await user.naming.settled()
    assert user.naming.status().via == RESOLVED


async def test_nothing_is_said_to_who_is_offered_no_names(user: User) -> None:
    user.resolved.owner = ""
    await user.connect(dataclasses.replace(WELCOME, dns=(), domains=(), hosts=()))
    assert user.said == []


async def test_one_that_refuses(user: User) -> None:
    user.resolved.refusal = "org.freedesktop.DBus.Error.AccessDenied"
    await user.connect()
    assert "systemd-resolved takes names from root, or whom polkit allows it" in user.said[-1]
    assert await user.ask("gpu.gpu-box.nc") == ["192.168.1.20"], "who knows how asks all the same"


async def test_one_that_nobody_asks(user: User) -> None:
    resolvconf.PATH.write_text("nameserver 192.0.2.53\n")
    await user.connect()
    assert user.resolved.domains
    assert "systemd-resolved runs, and programs do not ask it" in user.said[-1]


# --- domains ---


@pytest.mark.parametrize(
    ("offered", "own", "accept", "taken"),
    [
        (("lan",), [], (), ["lan"]),
        (("com",), [], (), []),
        (("google.com",), [], (), []),
        (("arpa",), [], (), []),
        (("local",), [], (), []),
        (("168.192.in-addr.arpa",), [], (), []),
        (("nc",), [], (), []),
        (("other.nc",), [], (), []),
        (("office.example",), [], ("office.example",), ["office.example"]),
        (("a.office.example",), [], ("office.example",), ["a.office.example"]),
        (("example",), [], ("office.example",), []),
        (("lan",), ["lan"], (), []),
        (("bank.lan",), ["lan"], (), []),
        (("lan",), ["home.lan"], (), []),
        (("lan",), ["lan"], ("lan",), ["lan"]),
        (("corp", "lan"), ["lan"], (), ["corp"]),
    ],
)
async def test_domains(
    user: User, offered: tuple[str, ...], own: list[str], accept: tuple[str, ...], taken: list[str]
) -> None:
    user.own_domains = own
    user.options = dataclasses.replace(user.options, accept=accept)
    await user.connect(dataclasses.replace(WELCOME, domains=offered))
    assert user.resolved.domains == ["gpu-box.nc", *taken, *REVERSE]
    left = [domain for domain in offered if domain not in taken]
    assert len(user.said) == len(left)
    for line, domain in zip(user.said, left, strict=True):
        assert line.startswith(f"warning: left out the domain {domain}: ")
        assert f"--accept-domain {domain}" in line


# --- the provider's label ---


async def test_a_provider_cannot_take_the_name_that_another_has(user: User) -> None:
    user.options = dataclasses.replace(user.options, taken=lambda: {"gpu-box"}, fallback="up")
    await user.connect()
    assert await user.ask("gpu.up.nc") == ["192.168.1.20"]
    assert await user.ask("gpu.gpu-box.nc") == ["not ours"]


async def test_the_users_name_for_a_provider_counts(user: User) -> None:
    user.options = dataclasses.replace(user.options, label="office")
    await user.connect()
    assert await user.ask("gpu.office.nc") == ["192.168.1.20"]


# --- this machine's own lease ---


async def test_this_machines_lease_has_its_name(user: User) -> None:
    both = ip_address("100.64.0.2"), ip_address("fd00:2::2")
    await user.connect(dataclasses.replace(WELCOME, addresses=both))
    assert await user.ask("my-laptop.gpu-box.nc") == ["100.64.0.2"]
    assert await user.ask("my-laptop.gpu-box.nc", "AAAA") == ["fd00:2::2"]
    assert await user.ask("2.0.64.100.in-addr.arpa", "PTR") == ["my-laptop.gpu-box.nc."]
    await user.update(dataclasses.replace(WELCOME, addresses=(ip_address("100.64.0.9"),)))
    assert await user.ask("my-laptop.gpu-box.nc") == ["100.64.0.9"], "a new lease"
    assert await user.ask("2.0.64.100.in-addr.arpa", "PTR") == ["not ours"]


# --- what the tunnel leads to ---


async def test_a_network_that_is_mapped(user: User) -> None:
    seen = ip_network("10.201.7.0/24")
    await user.connect(WELCOME, Mapping(LAN, seen))
    assert await user.ask("gpu.gpu-box.nc") == ["10.201.7.20"]
    assert user.naming.status().resolvers == ["10.201.7.1"]
    assert "7.201.10.in-addr.arpa" in user.resolved.domains


async def test_a_route_that_is_left_out_takes_its_names_along(user: User) -> None:
    """Or a machine of the user's own network would be asked, and meant."""
    await user.naming.start()
    user.naming.update(WELCOME, [GATEWAY], ())
    await user.naming.settled()
    status = user.naming.status()
    assert (status.hosts, status.resolvers, status.domains) == (
        ["gateway.gpu-box.nc", "my-laptop.gpu-box.nc"],
        [],
        [],
    )


async def test_this_machines_own_resolver_is_not_the_providers(user: User) -> None:
    user.own_resolvers = [ip_address("192.168.1.1")]
    await user.connect()
    assert user.naming.status().resolvers == []


# --- resolv.conf ---


async def test_resolv_conf(user: User) -> None:
    user.resolved.owner = ""
    sockets = dataclasses.replace(user.options.sockets, port=resolvconf.PORT)
    user.options = dataclasses.replace(user.options, resolv_conf=True, sockets=sockets)
    await user.connect()
    assert user.naming.resolver == str(sockets.address)
    assert user.naming.status().via == str(resolvconf.PATH)
    assert user.said == ["warning: left out the domain example.com: " + INTERNET]


INTERNET = "names of the Internet; if you want it: --accept-domain example.com"


async def test_resolv_conf_stays_where_systemd_resolved_is_asked(user: User) -> None:
    user.options = dataclasses.replace(user.options, resolv_conf=True)
    await user.connect()
    assert user.naming.resolver == ""
    assert user.said[0].startswith("systemd-resolved is told of the tunnel's names; ")


async def test_resolv_conf_knows_one_port(user: User) -> None:
    user.resolved.owner = ""
    sockets = dataclasses.replace(user.options.sockets, port=HIGH_PORT)
    user.options = dataclasses.replace(user.options, resolv_conf=True, sockets=sockets)
    with pytest.raises(HostError, match=r"has port 1053; resolv\.conf knows port 53 only"):
        await user.naming.start()


async def test_a_bus_that_hangs_holds_nothing_up_for_ever(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolved, "CALL_TIMEOUT", 0.05)
    user.resolved.silent = True
    async with asyncio.timeout(10):
        await user.connect()
    assert "the system's D-Bus cannot be asked" in user.naming.status().reason
