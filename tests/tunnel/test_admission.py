"""Who is let in by a gateway, and what those cost who are not: strangers, floods, and peers that hang."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from nconnect.errors import ClosedError, DialTimeoutError
from nconnect.permission.grants import Grant
from nconnect.tunnel import admission, control
from nconnect.tunnel import link as link_module
from nconnect.tunnel.admission import MAX_HANDSHAKES_PER_KEY
from nconnect.tunnel.link import OVERLAY_SESSION

from ..nkn.waiting import soon, until
from .conftest import MakeClient
from .raw_peer import RawPeer, udp_packet
from .serving import (
    ANN,
    BOB,
    EVE,
    HOST,
    MALLORY,
    MakeProvider,
    MakeUser,
    Provider,
    admitted,
    answer_to,
    connect,
    make_provider,
    provider,
)

__all__ = ["connect", "make_provider", "provider"]


# --- who is not let in ---


async def test_a_stranger_is_refused_and_shown(provider: Provider, make_client: MakeClient) -> None:
    client = await make_client("up", EVE)
    answer = await answer_to(client, provider, control.Hello(name="eve\x1b[31m\n"))
    assert isinstance(answer, control.Refused)
    assert answer.code == control.RefusalCode.NOT_ADMITTED
    assert provider.said[-1] == (
        f"not let in: {EVE.public_key.hex()} (eve?[31m?); to let it in: nconnect allow {EVE.public_key.hex()}"
    )
    assert [knock.key for knock in provider.gateway.status().knocks] == [EVE.public_key.hex()]
    assert provider.users == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [("laptop", "(laptop)"), (ANN.public_key.hex(), ""), ("(laptop)", ""), ("x) laptop (", ""), ("", "")],
)
async def test_what_a_user_calls_itself_passes_for_no_name(
    provider: Provider, make_client: MakeClient, said: str, shown: str
) -> None:
    """Ann has a name of the provider's, Bob was let in without."""
    provider.authority.store.allow(ANN.public_key, "laptop", Grant())
    events: list[tuple[str, bytes, object]] = []

    def on_event(kind: str, key: bytes, **facts: object) -> None:
        events.append((kind, key, facts["name"]))

    provider.authority.on_event = on_event
    await admitted(await make_client("up", ANN), provider, control.Hello(name="other"))
    bob = await admitted(await make_client("up", BOB), provider, control.Hello(name=said))
    names = {user.key: user.name for user in provider.gateway.status().users}
    assert names == {ANN.public_key.hex(): "laptop", BOB.public_key.hex(): shown}
    await bob.peer.send(control.Bye("done"))
    await until(lambda: ("left", BOB.public_key, shown) in events)
    assert [event for event in events if event[0] == "admitted"] == [
        ("admitted", ANN.public_key, "laptop"),
        ("admitted", BOB.public_key, shown),
    ]
    who = shown or "a user"
    assert provider.said[-1] == f"{who} has left: {BOB.public_key.hex()}"


async def test_packets_of_a_stranger_go_nowhere(
    provider: Provider, make_client: MakeClient, connect: MakeUser
) -> None:
    """Authentic batches before, with and after Hello."""
    ann = await connect(ANN)
    peer = await soon(RawPeer.dial(await make_client("up", EVE), provider.address))
    packet = udp_packet(ann.address, HOST)
    await peer.send_packets(packet)
    await peer.send(control.Hello())
    with contextlib.suppress(ClosedError):
        while True:
            await soon(peer.send_packets(packet))
    assert await provider.serves(ann)
    assert provider.host.tun.collect() == []


async def test_another_major_version(provider: Provider, make_client: MakeClient) -> None:
    answer = await answer_to(await make_client("up", ANN), provider, control.Hello(version=(2, 0)))
    assert isinstance(answer, control.Refused)
    assert answer.code == control.RefusalCode.VERSION
    assert "speaks version 1, you speak 2" in answer.reason


async def test_something_else_than_hello(provider: Provider, make_client: MakeClient) -> None:
    answer = await answer_to(await make_client("up", ANN), provider, control.RoutesChanged(()))
    assert answer == control.Bye("Hello comes first")


async def test_no_hello_at_all(
    provider: Provider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "HELLO_TIMEOUT", 0.1)
    peer = await soon(RawPeer.dial(await make_client("up", ANN), provider.address))
    assert await soon(peer.receive()) == control.Bye("no Hello")


async def test_a_full_pool(make_provider: MakeProvider, make_client: MakeClient) -> None:
    """A /30 has one address for a user."""
    async with make_provider(pool4="10.99.0.0/30") as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        answer = await answer_to(await make_client("up", BOB), provider, control.Hello())
        assert isinstance(answer, control.Refused)
        assert answer.code == control.RefusalCode.FULL
        assert "10.99.0.0/30 is full" in answer.reason
        assert await provider.serves(ann)


async def test_a_lease_that_cannot_be_written(
    make_provider: MakeProvider, make_client: MakeClient, tmp_path: Path
) -> None:
    """A full disk, say: who has a lease already is served, a new user is told, the provider is warned."""
    leases = tmp_path / "state" / "leases.json"
    async with make_provider(leases=leases) as provider:
        client = await make_client("up", ANN)
        ann = await admitted(client, provider)
        leases.parent.rename(tmp_path / "elsewhere")
        (tmp_path / "state").touch()
        answer = await answer_to(await make_client("up", BOB), provider, control.Hello())
        assert isinstance(answer, control.Refused)
        assert answer.code == control.RefusalCode.BUSY
        assert provider.said[-1].startswith(f"warning: {BOB.public_key.hex()} gets no address: cannot write")
        assert await provider.serves(ann)
        assert await provider.serves(await admitted(client, provider))


async def test_a_host_that_refuses_a_user(
    provider: Provider, make_client: MakeClient, connect: MakeUser, caplog: pytest.LogCaptureFixture
) -> None:
    """The firewall cannot be changed for Bob: he is not served, Ann is, and he may try again."""
    ann = await connect(ANN)
    provider.host.refuses = True
    answer = await answer_to(await make_client("up", BOB), provider, control.Hello())
    assert isinstance(answer, control.Refused)
    assert answer.code == control.RefusalCode.BUSY
    assert provider.users == [ANN.public_key.hex()]
    assert "the kernel says no" in provider.said[-1]
    assert not [record for record in caplog.records if record.exc_info]
    assert await provider.serves(ann)
    provider.host.refuses = False
    assert await provider.serves(await connect(BOB))


# --- who hangs ---


async def test_who_hangs_does_not_hold_up_others(
    provider: Provider, make_client: MakeClient, connect: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers take all places there are for strangers, and say nothing."""
    monkeypatch.setattr(admission, "MAX_HANDSHAKES", 3)
    clients = [await make_client(f"eve{number}") for number in range(4)]
    hanging = [await soon(client.dial(provider.address, OVERLAY_SESSION)) for client in clients[:3]]
    await until(lambda: provider.gateway._admission.handshakes.total() == 3)
    with pytest.raises(ClosedError):
        await soon((await clients[3].dial(provider.address, OVERLAY_SESSION)).receive())
    assert await provider.serves(await connect(ANN))
    assert not any(session.closed for session in hanging)


async def test_strangers_get_few_handshakes_a_second(
    make_provider: MakeProvider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who knocks again and again, quickly: after the first few, nobody answers but for users."""
    monkeypatch.setattr(admission, "STRANGERS_AT_ONCE", 3)
    monkeypatch.setattr(admission, "STRANGERS_PER_SECOND", 0)
    monkeypatch.setattr(admission, "STRANGER_INTERVAL", 0)
    eve = await make_client("up", EVE)
    async with make_provider() as provider:
        for _ in range(3):
            assert isinstance(await answer_to(eve, provider, control.Hello()), control.Refused)
        for _ in range(3):
            with pytest.raises(ClosedError):
                await soon(RawPeer.dial(eve, provider.address))
        assert await provider.serves(await admitted(await make_client("up", ANN), provider))


async def test_one_stranger_does_not_hide_another(provider: Provider, make_client: MakeClient) -> None:
    """Eve dials without a pause; Bob's knock is heard all the same."""
    eve, mallory = await make_client("up", EVE), await make_client("up", MALLORY)
    await answer_to(eve, provider, control.Hello())
    for _ in range(admission.STRANGERS_AT_ONCE):
        with contextlib.suppress(ClosedError):
            (await soon(eve.dial(provider.address, OVERLAY_SESSION))).abort()
    assert isinstance(await answer_to(mallory, provider, control.Hello()), control.Refused)
    assert MALLORY.public_key.hex() in provider.said[-1]


async def test_who_floods_gets_no_answer(
    make_provider: MakeProvider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a few, strangers are not even told that they are not let in; users are heard all the same."""
    monkeypatch.setattr(admission, "ANSWERS_AT_ONCE", 3)
    monkeypatch.setattr(admission, "ANSWERS_PER_SECOND", 0)
    eve = await make_client("up", EVE)
    async with make_provider() as provider:
        for _ in range(3):
            with contextlib.suppress(ClosedError):
                await soon(eve.dial(provider.address, OVERLAY_SESSION))
        with pytest.raises(DialTimeoutError):
            await eve.dial(provider.address, OVERLAY_SESSION, timeout=1.0)
        assert await provider.serves(await admitted(await make_client("up", ANN), provider))


async def test_a_user_who_dials_without_a_pause_is_slowed_down(
    make_provider: MakeProvider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each handshake costs the others some milliseconds."""
    monkeypatch.setattr(admission, "REDIALS_AT_ONCE", 2)
    monkeypatch.setattr(admission, "REDIALS_PER_SECOND", 0)
    async with make_provider() as provider:
        for _ in range(2):
            await admitted(await make_client("up", ANN), provider)
        with pytest.raises(ClosedError):
            await soon(RawPeer.dial(await make_client("up", ANN), provider.address))
        await admitted(await make_client("up", BOB), provider)


async def test_who_hangs_is_hung_up_on(
    provider: Provider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "HANDSHAKE_TIMEOUT", 0.1)
    session = await soon((await make_client("up", EVE)).dial(provider.address, OVERLAY_SESSION))
    with pytest.raises(ClosedError):
        while True:
            await soon(session.receive())
    await until(lambda: not provider.gateway._admission.handshakes)


async def test_handshakes_of_one_key_are_few(provider: Provider, make_client: MakeClient) -> None:
    client = await make_client("up", ANN)
    hanging = [
        await soon(client.dial(provider.address, OVERLAY_SESSION)) for _ in range(MAX_HANDSHAKES_PER_KEY)
    ]
    await until(lambda: provider.gateway._admission.handshakes[ANN.public_key] == MAX_HANDSHAKES_PER_KEY)
    with pytest.raises(ClosedError):
        await soon((await client.dial(provider.address, OVERLAY_SESSION)).receive())
    assert not any(session.closed for session in hanging)


@pytest.mark.parametrize("seed", range(3))
async def test_strangers_that_send_anything(
    provider: Provider,
    make_client: MakeClient,
    connect: MakeUser,
    seed: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random frames, of all types, before any handshake: each costs its own session."""
    monkeypatch.setattr(admission, "STRANGER_INTERVAL", 0)
    choice = random.Random(seed)
    ann = await connect(ANN)
    client = await make_client("up", EVE)
    for _ in range(5):
        session = await soon(client.dial(provider.address, OVERLAY_SESSION))
        with contextlib.suppress(ClosedError):
            for _ in range(30):
                await session.send(
                    choice.choice([b"\0", b"\1", b"\2", b"\0\0\0\0\0"]) + choice.randbytes(200)
                )
        session.abort()
        assert await provider.serves(ann)
    assert not [record for record in caplog.records if record.exc_info]
    assert provider.users == [ANN.public_key.hex()]
