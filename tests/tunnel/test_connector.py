"""The user's side with good providers and bad ones: a provider gets nothing that it was not asked for."""

from __future__ import annotations

import contextlib
import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from nconnect.devnet import Devnet
from nconnect.errors import (
    ClosedError,
    CryptoError,
    DecodeError,
    DialTimeoutError,
    HostError,
    NconnectError,
    ProtocolError,
    RefusedError,
    RouteConflictError,
)
from nconnect.host.networks import Connected
from nconnect.host.tun import Offload
from nconnect.nkn.keys import KeyPair
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, joining
from nconnect.tunnel.link import USER_SESSION
from nconnect.tunnel.mapping import Mapping
from nconnect.tunnel.status import MappingStatus

from ..nkn.waiting import soon, until
from .conftest import PATHS, MakeClient
from .connecting import PROVIDER, USER, WELCOME, Provider, User, provider, user
from .fake_host import LAN
from .raw_peer import KERNELS, RawPeer, sent_at_once, sent_one_by_one, udp_packet

__all__ = ["provider", "user"]

OWN, HOST = bytes([100, 64, 0, 2]), bytes([192, 168, 77, 20])
AT_HOME = Connected(ip_network("192.168.1.0/24"), "wlan0")


# --- a good provider ---


async def test_what_it_is_welcomed_with_is_applied(provider: Provider, user: User) -> None:
    peer = await provider.accept(WELCOME)
    await soon(user.connector.ready.wait())
    assert user.host.addresses == ["100.64.0.2/32", "fd00:9::2/128"]
    assert user.host.routes == [*LAN, ip_network("100.64.0.1/32")]
    assert user.said == [
        "connected to office: 192.168.77.0/24 via fake0, you are 100.64.0.2 (X25519MLKEM768)"
    ]
    packet = udp_packet(OWN, HOST)
    user.host.tun.deliver(packet)
    assert await soon(peer.receive_packets()) == [packet]
    answer = udp_packet(HOST, OWN)
    await peer.send_packets(answer)
    await until(lambda: user.host.tun.collect() == [answer])
    status = user.connector.status()
    assert (status.state, status.key_exchange_group) == ("connected", "X25519MLKEM768")
    assert (status.packets["packets_in"], status.packets["packets_out"]) == (1, 1)


@pytest.mark.parametrize(("uso", "offloads"), KERNELS)
async def test_each_side_says_whether_its_kernel_cuts_datagrams(
    provider: Provider, user: User, uso: frozenset[str], offloads: Offload
) -> None:
    user.host.tun.offloads = offloads
    peer = await provider.accept(dataclasses.replace(WELCOME, capabilities=uso))
    await soon(user.connector.ready.wait())
    assert provider.hello.capabilities == uso
    payloads = [bytes([number]) * 300 for number in range(5)]
    user.host.tun.deliver(sent_at_once(OWN, HOST, payloads))
    expected = [sent_at_once(OWN, HOST, payloads)] if uso else sent_one_by_one(OWN, HOST, payloads)
    assert await soon(peer.receive_packets()) == expected


async def test_routes_that_change(provider: Provider, user: User) -> None:
    peer = await provider.accept(WELCOME)
    await soon(user.connector.ready.wait())
    more = ip_network("10.20.0.0/16")
    await peer.send(control.RoutesChanged((more,)))
    await until(lambda: user.host.routes == [more, ip_network("100.64.0.1/32")])
    assert [route.prefix for route in user.connector.status().routes] == [str(more)]


@pytest.mark.parametrize("end", ["goodbye", "abort", "nonsense"])
async def test_a_link_that_ends_is_dialled_again(provider: Provider, user: User, end: str) -> None:
    peer = await provider.accept(WELCOME)
    await soon(user.connector.ready.wait())
    match end:
        case "goodbye":
            await peer.send(control.Bye("the provider stopped"))
        case "abort":
            peer.session.abort()
        case "nonsense":
            await peer.send_bytes(b"\xff\xff\xff")
    await user.state("reconnecting")
    again = await provider.accept(dataclasses.replace(WELCOME, name="again"))
    await user.state("connected")
    assert user.host.undone == 0
    packet = udp_packet(OWN, HOST)
    user.host.tun.deliver(packet)
    assert packet in await soon(again.receive_packets())
    assert user.said[1].startswith("connection lost (")
    assert user.said[2].startswith("connected to again: ")


async def test_status_says_when_no_relay_is_left(provider: Provider, user: User, devnet: Devnet) -> None:
    await provider.accept(WELCOME)
    await user.state("connected")
    for index in range(PATHS):
        await devnet.stop_node(index)
    await user.state("reconnecting")
    assert user.connector.status().reason == "no relay is connected"


# --- one that refuses ---


async def test_refused(provider: Provider, user: User) -> None:
    await provider.accept(control.Refused(control.RefusalCode.NOT_ADMITTED, "no"))
    error = await user.fails()
    assert isinstance(error, RefusedError)
    assert error.exit_code == 5
    assert str(error) == (
        f"not admitted yet; your key is {USER.public_key.hex()}\n"
        f"ask the provider to run: nconnect allow {USER.public_key.hex()}"
    )


async def test_refused_for_another_reason(provider: Provider, user: User) -> None:
    await provider.accept(control.Refused(control.RefusalCode.FULL, "the pool is full\x1b[2J"))
    assert str(await user.fails()) == "the provider refused: the pool is full?[2J"


async def test_refused_later(provider: Provider, user: User) -> None:
    """The key was taken off the list while the link was down: to dial again and again would be no use."""
    peer = await provider.accept(WELCOME)
    await user.state("connected")
    peer.session.abort()
    await provider.accept(control.Refused(control.RefusalCode.NOT_ADMITTED, "no longer"))
    assert isinstance(await user.fails(), RefusedError)


# --- one that is not there, or not the one ---


async def test_nobody_answers(user: User, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "USER_SESSION", dataclasses.replace(USER_SESSION, dial_timeout=0.2))
    error = await user.fails()
    assert isinstance(error, DialTimeoutError)
    assert str(error).startswith(f"{PROVIDER.public_key.hex()} did not answer in 0.2 s over {PATHS} paths: ")


async def test_another_key_answers(provider: Provider, user: User) -> None:
    provider.identity = Identity(KeyPair.generate().seed)
    with pytest.raises(NconnectError):
        await provider.accept(WELCOME)
    error = await user.fails()
    assert isinstance(error, CryptoError)
    assert "its NKN address has" in str(error)


async def test_no_welcome(provider: Provider, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "WELCOME_TIMEOUT", 0.1)
    await provider.accept()
    error = await user.fails()
    assert isinstance(error, ClosedError)
    assert "did not answer Hello" in str(error)


# --- one that wants more than to be a provider ---


def welcome(**changes: object) -> control.Welcome:
    return dataclasses.replace(WELCOME, **changes)  # type: ignore[arg-type]


BAD_ANSWERS: dict[str, tuple[control.ControlMessage, type[NconnectError], str]] = {
    "something else": (control.RoutesChanged(LAN), ProtocolError, "answered Hello with RoutesChanged"),
    "another version": (welcome(version=(2, 0)), RefusedError, "speaks version 2, this is 1"),
    "no address": (welcome(addresses=()), ProtocolError, "hands out no address"),
    "this host as address": (welcome(addresses=(ip_address("127.0.0.1"),)), ProtocolError, "127.0.0.1"),
    "the user's router as address": (
        welcome(addresses=(ip_address("192.168.1.1"),)),
        RouteConflictError,
        r"192\.168\.1\.1, but this machine is itself in 192\.168\.1\.0/24 \(wlan0\)",
    ),
    "the user's router as gateway": (
        welcome(gateways=(ip_address("192.168.1.1"),)),
        RouteConflictError,
        "nothing was changed",
    ),
    "the user's network as route": (
        welcome(routes=(ip_network("192.168.1.0/24"),)),
        RouteConflictError,
        r"192\.168\.1\.0/24 is offered",
    ),
    "the metadata service as route": (
        welcome(routes=(ip_network("169.254.169.254/32"),)),
        RouteConflictError,
        "each machine's own",
    ),
    "an MTU too small": (welcome(mtu=576), DecodeError, "MTU of 576"),
    "too many routes": (welcome(routes=LAN * 1025), DecodeError, "list of 1025 entries"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS)
async def test_a_welcome_that_is_none(provider: Provider, user: User, answer: str) -> None:
    message, kind, pattern = BAD_ANSWERS[answer]
    user.host.connected = [AT_HOME]
    await provider.accept(message)
    error = await user.fails()
    assert type(error) is kind
    with pytest.raises(kind, match=pattern):
        raise error
    assert user.host.addresses == []
    assert user.host.routes == []


async def test_a_conflict_beside_a_good_route(provider: Provider, user: User) -> None:
    user.host.connected = [AT_HOME]
    await provider.accept(welcome(routes=(*LAN, AT_HOME.prefix)))
    await user.state("degraded")
    assert user.host.routes == [*LAN, ip_network("100.64.0.1/32")]
    reason = "192.168.1.0/24 is offered, but this machine is itself in 192.168.1.0/24 (wlan0)"
    assert user.connector.status().reason == reason
    assert user.said[0] == f"warning: left out: {reason}"


async def test_a_network_that_is_joined_later_is_not_cut_off(provider: Provider, user: User) -> None:
    """A laptop comes home: the route that leads into its own network there is withdrawn, and comes back."""
    await provider.accept(welcome(routes=(*LAN, AT_HOME.prefix)))
    await user.state("connected")
    assert AT_HOME.prefix in user.host.routes
    user.host.connected = [AT_HOME]
    await user.state("degraded")
    assert user.host.routes == [*LAN, ip_network("100.64.0.1/32")]
    user.host.connected = []
    await user.state("connected")
    assert AT_HOME.prefix in user.host.routes


async def test_who_misses_the_tunnel_is_told_of_where_this_machine_forwards(
    provider: Provider, user: User
) -> None:
    user.host.inner = ["ve-a"]
    await provider.accept(WELCOME)
    await user.state("connected")
    assert not any("ve-a" in line for line in user.said)
    user.host.limits_forwarding = True
    await until(lambda: any("ve-a" in line for line in user.said))
    user.host.inner = ["ve-a", "ve-b"]
    await until(lambda: any("ve-b" in line for line in user.said))
    assert [line for line in user.said if "ve-" in line] == [
        f"what comes from {one} is not forwarded into the tunnel; if it shall be: --forward {one}"
        for one in ("ve-a", "ve-b")
    ]


async def test_a_network_that_has_our_addresses_is_waited_out(provider: Provider, user: User) -> None:
    """A laptop is tethered to a phone for a while."""
    peer = await provider.accept(WELCOME)
    await user.state("connected")
    user.host.connected = [Connected(ip_network("100.64.0.0/10"), "usb0")]
    peer.session.abort()
    await provider.accept(WELCOME)
    await until(lambda: "usb0" in user.connector.status().reason)
    assert user.connector.status().state == "reconnecting"
    user.host.connected = []
    await provider.accept(WELCOME)
    await user.state("connected")


# --- networks by other names ---

MAPPING = welcome(routes=(AT_HOME.prefix,), capabilities=frozenset({control.CAPABILITY_MAP}))


async def question(peer: RawPeer) -> tuple[Mapping, ...]:
    """The next wish of the user."""
    while not isinstance(message := await soon(peer.receive()), control.Mappings):
        pass
    return message.mappings


async def test_what_this_machine_has_itself_gets_another_name(provider: Provider, user: User) -> None:
    user.host.connected = [AT_HOME]
    peer = await provider.accept(MAPPING)
    (one,) = wanted = await question(peer)
    assert one.real == AT_HOME.prefix
    assert user.host.routes == []
    await peer.send(control.Mappings(wanted))
    await soon(user.connector.ready.wait())
    assert user.host.routes == [one.seen, ip_network("100.64.0.1/32")]
    assert user.connector.mappings == wanted
    status = user.connector.status()
    assert (status.state, status.mappings) == ("connected", [MappingStatus(str(one.real), str(one.seen))])
    assert user.said[0] == f"{one.real} at office → {one.seen}"
    # The provider has it with the first word of the next link.
    peer.session.abort()
    await provider.accept(dataclasses.replace(MAPPING, mappings=wanted))
    await until(lambda: len(user.said) == 4)
    assert provider.hello.mappings == wanted
    assert user.said[3].startswith(f"connected to office: {one.seen} via")
    assert user.host.routes == [one.seen, ip_network("100.64.0.1/32")]


@pytest.mark.parametrize("later", ["RoutesChanged", "Refused", "Bye", "nothing"])
async def test_a_provider_that_says_something_else(
    provider: Provider, user: User, later: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "MAPPINGS_TIMEOUT", 0.2)
    user.host.connected = [AT_HOME]
    peer = await provider.accept(MAPPING)
    wanted = await question(peer)
    match later:
        case "RoutesChanged":
            await peer.send(control.RoutesChanged(LAN), control.Mappings(wanted))
            await user.state("connected")
            assert user.host.routes == [*LAN, ip_network("100.64.0.1/32")]
            assert await question(peer) == ()
        case "Refused":
            await peer.send(control.Refused(control.RefusalCode.REVOKED, "out"))
            assert isinstance(await user.fails(), RefusedError)
        case _:
            if later == "Bye":
                await peer.send(control.Bye("going"))
            error = await user.fails()
            assert isinstance(error, ClosedError)
            assert ("going" if later == "Bye" else "did not say which prefixes") in str(error)


async def test_a_provider_that_maps_nothing(provider: Provider, user: User) -> None:
    user.host.connected = [AT_HOME]
    peer = await provider.accept(MAPPING)
    await question(peer)
    await peer.send(control.Mappings((), "no room"))
    error = await user.fails()
    assert isinstance(error, RouteConflictError)
    assert "the provider gives it no other name: no room: nothing was changed" in str(error)


async def test_a_network_that_is_joined_later_gets_another_name(provider: Provider, user: User) -> None:
    """Until the provider has answered no route leads to it; and the name stays when the network is left."""
    peer = await provider.accept(dataclasses.replace(MAPPING, routes=(*LAN, AT_HOME.prefix)))
    await user.state("connected")
    gateway = ip_network("100.64.0.1/32")
    assert user.host.routes == [*LAN, AT_HOME.prefix, gateway]
    user.host.connected = [AT_HOME]
    (one,) = wanted = await question(peer)
    await until(lambda: user.host.routes == [*LAN, gateway])
    await peer.send(control.Mappings(wanted))
    await until(lambda: user.host.routes == [*LAN, one.seen, gateway])
    user.host.connected = []
    await until(lambda: user.host.routes == [*LAN, AT_HOME.prefix, one.seen, gateway])
    # Somebody else has the name now; and the provider refuses another.
    user.host.connected = [AT_HOME, Connected(one.seen, "eth0")]
    (other,) = await question(peer)
    assert not other.seen.overlaps(one.seen)
    await peer.send(control.Mappings((), "no"))
    await user.state("degraded")
    assert user.host.routes == [*LAN, gateway]
    assert user.said[-1].startswith(f"warning: left out: {AT_HOME.prefix} is offered, but the provider")


async def test_a_host_that_refuses_the_first_change(provider: Provider, user: User) -> None:
    user.host.refuses = True
    await provider.accept(WELCOME)
    error = await user.fails()
    assert isinstance(error, HostError)
    assert "the kernel says no" in str(error)


async def test_a_host_that_refuses_a_later_change_is_asked_again(provider: Provider, user: User) -> None:
    """A disk that is full for a while ends no link that works."""
    peer = await provider.accept(WELCOME)
    await user.state("connected")
    user.host.refuses = True
    more = ip_network("10.0.0.0/8")
    await peer.send(control.RoutesChanged((more,)))
    await until(lambda: "warning: cannot change the firewall: the kernel says no" in user.said)
    assert user.connector.status().state == "connected"
    user.host.refuses = False
    await until(lambda: more in user.host.routes)


async def test_a_provider_that_floods_loses_its_link_only(provider: Provider, user: User) -> None:
    peer = await provider.accept(WELCOME)
    await user.state("connected")
    with contextlib.suppress(NconnectError):
        await peer.send(*[control.Hello(name="x" * 200)] * 500)
    await user.state("reconnecting")
    await provider.accept(WELCOME)
    await user.state("connected")
