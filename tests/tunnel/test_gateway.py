"""The gateway with good users and bad ones: what one does costs the others nothing."""

from __future__ import annotations

import asyncio
import random
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.config import NetworkSection
from nconnect.devnet import Devnet
from nconnect.errors import ClosedError, UsageError
from nconnect.host.grants import Target
from nconnect.host.tun import Offload
from nconnect.host.user_rules import Mapping
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant
from nconnect.permission.store import Store
from nconnect.tunnel import control, overlay
from nconnect.tunnel.gateway import REMAP_INTERVAL, Gateway, GatewayOptions
from nconnect.tunnel.leases import Pool

from ..nkn.waiting import soon, until
from .conftest import PATHS, MakeClient
from .fake_host import LAN, FakeHost
from .raw_peer import KERNELS, sent_at_once, sent_one_by_one, udp_packet
from .serving import (
    ANN,
    BOB,
    HOST,
    PROVIDER,
    MakeProvider,
    MakeUser,
    Provider,
    User,
    admitted,
    connect,
    make_provider,
    provider,
)

__all__ = ["connect", "make_provider", "provider"]

# A pong within it, while another user floods: far more than it takes, far less than a person would stand.
PING_SECONDS = 3.0


# --- packets ---


async def test_a_user_reaches_the_lan(provider: Provider, connect: MakeUser) -> None:
    ann = await connect(ANN)
    assert ann.welcome.routes == LAN
    assert await provider.serves(ann)
    assert provider.users == [ANN.public_key.hex()]
    assert provider.host.leases == list(ann.welcome.addresses)


@pytest.mark.parametrize(("uso", "offloads"), KERNELS)
async def test_each_side_says_whether_its_kernel_cuts_datagrams(
    provider: Provider, make_client: MakeClient, uso: frozenset[str], offloads: Offload
) -> None:
    provider.host.tun.offloads = offloads
    ann = await admitted(await make_client("up", ANN), provider, control.Hello(uso))
    assert ann.welcome.capabilities & {control.CAPABILITY_USO} == uso
    payloads = [bytes([number]) * 300 for number in range(5)]
    to_ann = HOST, ann.address, payloads
    provider.host.tun.deliver(sent_at_once(*to_ann))
    expected = [sent_at_once(*to_ann)] if uso else sent_one_by_one(*to_ann)
    assert await soon(ann.peer.receive_packets()) == expected


async def test_a_source_that_was_not_leased_is_dropped(provider: Provider, connect: MakeUser) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    foreign = [bob.address, HOST, bytes([127, 0, 0, 1]), bytes([8, 8, 8, 8]), ann.welcome.gateways[0].packed]
    await ann.peer.send_packets(*[udp_packet(source, HOST, b"forged") for source in foreign])
    await until(lambda: provider.packets["dropped_source"] == len(foreign))
    assert provider.host.tun.collect() == []
    assert await provider.serves(ann)
    assert await provider.serves(bob)


async def test_users_do_not_get_each_other_s_packets(provider: Provider, connect: MakeUser) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    assert ann.welcome.addresses != bob.welcome.addresses
    for number in range(20):
        user = (ann, bob)[number % 2]
        provider.host.tun.deliver(udp_packet(HOST, user.address, bytes([number]) * 20))
    provider.host.tun.deliver(udp_packet(HOST, bytes([100, 64, 200, 200]), b"nobody's"))
    for user, first in ((ann, 0), (bob, 1)):
        got: list[bytes] = []
        while len(got) < 10:
            got += await soon(user.peer.receive_packets())
        expected = [udp_packet(HOST, user.address, bytes([number]) * 20) for number in range(first, 20, 2)]
        assert got == expected
    assert provider.packets["dropped_no_route"] == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x01\x02",
        b"\xff\xff\xff\xff",
        (1000).to_bytes(4, "little") + b"short",
        (40).to_bytes(4, "little") + bytes(40),
        (40).to_bytes(4, "little") + bytes(10) + b"\x45\0\xff\xff" + bytes(26),
        (40).to_bytes(4, "little") + b"\xff" * 40,
        random.Random(1).randbytes(100_000),
    ],
    ids=[
        "nothing",
        "cut off",
        "too long",
        "beyond the end",
        "no IP",
        "a wrong length",
        "a wrong header",
        "random",
    ],
)
async def test_garbage_in_an_authentic_batch_costs_that_batch(
    provider: Provider, connect: MakeUser, garbage: bytes
) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    await ann.peer.session.send(ann.peer.seal(garbage))
    assert await provider.serves(ann)
    assert provider.packets["dropped_malformed"] == (1 if garbage else 0)
    assert await provider.serves(bob)


async def test_a_good_packet_before_a_bad_one_arrives(provider: Provider, connect: MakeUser) -> None:
    ann = await connect(ANN)
    good = udp_packet(ann.address, HOST)
    await ann.peer.session.send(ann.peer.seal(len(good).to_bytes(4, "little") + good + b"\xff\xff"))
    await until(lambda: provider.packets["dropped_malformed"] == 1)
    assert provider.host.tun.collect() == [good]


async def test_one_who_floods_does_not_drown_the_others(provider: Provider, connect: MakeUser) -> None:
    """Bob sends batches, good ones and garbage, as fast as he can; Ann's pings come and go all the same."""
    ann, bob = await connect(ANN), await connect(BOB)
    packet = udp_packet(bob.address, HOST, bytes(1400))
    choice = random.Random(7)

    async def flood() -> None:
        while True:
            await bob.peer.send_packets(*[packet] * 80)
            await bob.peer.session.send(b"\x01" + choice.randbytes(60_000))

    flooding = asyncio.create_task(flood())
    try:
        await until(lambda: provider.gateway.status().users[1].bytes_in > 5_000_000)
        for _ in range(10):
            async with asyncio.timeout(PING_SECONDS):
                assert await provider.serves(ann)
        assert not flooding.done()
    finally:
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


# --- sessions ---


async def test_a_second_session_of_a_key_takes_the_place_of_the_first(
    provider: Provider, connect: MakeUser
) -> None:
    first = await connect(ANN)
    second = await connect(ANN)
    assert second.welcome.addresses == first.welcome.addresses
    heard = list[control.ControlMessage | None]()
    with pytest.raises(ClosedError):
        while True:
            heard.append(await soon(first.peer.receive()))
    assert heard[-1] == control.Bye("another machine connected with your key")
    assert await provider.serves(second)
    assert provider.users == [ANN.public_key.hex()]
    assert provider.host.leases == list(second.welcome.addresses)


async def test_who_leaves_is_served_no_longer(provider: Provider, connect: MakeUser) -> None:
    ann = await connect(ANN)
    await ann.peer.send(control.Bye("done"))
    await until(lambda: provider.users == [])
    assert provider.said[-1] == f"(laptop) has left: {ANN.public_key.hex()}"


async def test_who_comes_and_goes_costs_no_change_of_the_host(provider: Provider, connect: MakeUser) -> None:
    """nft takes some 20 ms of everybody's time: a user who reconnects all the time must not cost that."""
    await connect(ANN)
    provider.host.refuses = True
    assert await provider.serves(await connect(ANN))


async def test_when_the_provider_stops_its_users_hear_of_it(
    make_provider: MakeProvider, make_client: MakeClient
) -> None:
    client = await make_client("up", ANN)
    async with make_provider() as provider:
        ann = await admitted(client, provider)
    assert await soon(ann.peer.receive()) == control.Bye("the provider stopped")


# --- prefixes by other names ---

SEEN = Mapping(LAN[0], ip_network("10.201.7.0/24"))
FOREIGN = Mapping(ip_network("10.66.0.0/24"), ip_network("10.201.8.0/24"))


async def remap(user: User, *wanted: Mapping) -> control.Mappings:
    await user.peer.send(control.Mappings(wanted))
    while not isinstance(answer := await soon(user.peer.receive()), control.Mappings):
        pass
    return answer


def mapped(provider: Provider, user: User) -> tuple[Mapping, ...]:
    """What the kernel translates for the user."""
    return provider.host.users[user.welcome.addresses[0]].mappings


async def test_a_user_has_what_it_asked_for_and_may_have(provider: Provider, connect: MakeUser) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    assert control.CAPABILITY_MAP in ann.welcome.capabilities
    assert await remap(ann, SEEN) == control.Mappings((SEEN,))
    assert (mapped(provider, ann), mapped(provider, bob)) == ((SEEN,), ())
    answer = await remap(ann, FOREIGN, SEEN)
    assert answer == control.Mappings((SEEN,), f"you are not granted {FOREIGN.real}")
    pool = Mapping(LAN[0], ip_network((bob.welcome.addresses[0].packed, 24), strict=False))
    assert await remap(ann, pool) == control.Mappings((), f"{pool.seen} means something else")
    assert mapped(provider, ann) == ()


async def test_a_user_who_comes_back_has_them_from_the_first_packet_on(
    provider: Provider, make_client: MakeClient
) -> None:
    """The kernel would reset connections by names that it does not know."""
    hello = control.Hello(name="laptop", mappings=(SEEN, FOREIGN))
    ann = await admitted(await make_client("up", ANN), provider, hello)
    assert ann.welcome.mappings == mapped(provider, ann) == (SEEN,)
    without = await admitted(await make_client("up", ANN), provider)
    assert without.welcome.mappings == mapped(provider, without) == ()


async def test_another_grant_keeps_those_that_it_has(provider: Provider, connect: MakeUser) -> None:
    ann = await connect(ANN)
    host = Mapping(ip_network("192.168.77.20/32"), ip_network("10.201.8.20/32"))
    await remap(ann, SEEN, host)
    provider.authority.store.allow(ANN.public_key, "", Grant((Target(host.real, "tcp", (80, 80)),)))
    provider.gateway.permissions_changed()
    await until(lambda: mapped(provider, ann) == (host,))
    assert provider.host.ended[-1] == (ann.welcome.addresses, (host,)), "what went by the others is over"


async def test_a_kernel_that_refuses_leaves_them_as_they_were(provider: Provider, connect: MakeUser) -> None:
    ann = await connect(ANN)
    await remap(ann, SEEN)
    provider.host.refuses = True
    assert await remap(ann) == control.Mappings((SEEN,), "it cannot map anything now; its log says why")
    assert "gets no other mappings" in provider.said[-1]
    assert await provider.serves(ann)


async def test_who_changes_them_all_the_time_is_slowed_down(provider: Provider, connect: MakeUser) -> None:
    """Each change blocks everybody's packets."""
    ann = await connect(ANN)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for number in range(5):
        await remap(ann, *[SEEN] * (number % 2))
    assert loop.time() - start >= 4 * REMAP_INTERVAL
    assert await provider.serves(ann)


# --- what cannot be served, and a network that goes away ---


@pytest.mark.parametrize("overlap", ["v4", "v6"])
async def test_a_lan_that_is_the_overlay_s_own(tmp_path: Path, overlap: str) -> None:
    pool = Pool.of(PROVIDER.public_key)
    lan = pool.v4 if overlap == "v4" else pool.v6
    options = GatewayOptions((lan,), "x", NetworkSection(), tmp_path / "j", tmp_path / "l")
    with (
        Store(tmp_path / "users") as store,
        pytest.raises(UsageError, match=f"--lan {lan} overlaps the overlay's own pool"),
    ):
        Gateway(options, PROVIDER, print, Authority(store))


async def test_a_lan_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHost().install(monkeypatch)
    monkeypatch.setattr("nconnect.host.networks.reach", lambda prefix: None)
    lan = (ip_network("10.9.8.0/24"),)
    options = GatewayOptions(lan, "x", NetworkSection(), tmp_path / "j", tmp_path / "l")
    with (
        Store(tmp_path / "users") as store,
        pytest.raises(UsageError, match=r"--lan 10\.9\.8\.0/24: this machine is not connected to it"),
    ):
        Gateway(options, PROVIDER, print, Authority(store))


async def test_who_is_not_forwarded_is_told_of(
    make_provider: MakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that starts while it serves; where the owner had this machine forward, nothing is cut."""
    monkeypatch.setattr(overlay, "HOST_CHECK_INTERVAL", 0.05)
    monkeypatch.setattr(overlay, "HOST_LOOK_INTERVAL", 0.05)
    async with make_provider() as provider:
        provider.host.inner = ["ve-a"]
        provider.host.limits_forwarding = True
        line = "what comes from ve-a is not forwarded; if it shall be: --forward ve-a"
        await until(lambda: line in provider.said)


async def test_status_says_when_no_relay_is_left(provider: Provider, devnet: Devnet) -> None:
    assert provider.gateway.status().state == "serving"
    for index in range(PATHS):
        await devnet.stop_node(index)
    await until(lambda: provider.gateway.status().state == "reconnecting")
    assert provider.gateway.status().reason == "no relay is connected"
