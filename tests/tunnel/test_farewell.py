"""A gateway whose user is gone: what is left of the user, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from nconnect.host.conntrack import Connection
from nconnect.packet import ip, tcp
from nconnect.packet.virtio import PROTOCOL_TCP
from nconnect.permission.decision import Decision
from nconnect.permission.grants import Grant
from nconnect.permission.store import Store
from nconnect.tunnel import absence, control, farewell
from nconnect.tunnel.gateway import HELD_FILE

from ..nkn.waiting import until
from .conftest import MakeClient
from .raw_peer import udp_packet
from .serving import ANN, BOB, HOST, MakeProvider, Provider, User, admitted, make_provider

__all__ = ["make_provider"]

LEASE = 0.2
EXPECTED = 12345
SYN, RST, ACK = 0x02, 0x04, 0x10


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "TICK", 0.02)
    monkeypatch.setattr(farewell, "ATTEMPT_SECONDS", 0.05)


def connection(user: bytes, port: int, *, server: bytes = HOST, live: bool = True) -> Connection:
    there = ip_address(server)
    return Connection(ip_address(user), there, there, PROTOCOL_TCP, port, 8000, live, b"%d" % port)


def flags_and_number(packet: bytes) -> tuple[int, int]:
    """Flags and sequence number of an IPv4 TCP packet."""
    segment = packet[10 + 20 :]
    return segment[13], int.from_bytes(segment[4:8], "big")


def challenge(probe: bytes) -> bytes:
    """A server's answer to a SYN for a connection that it has."""
    source, destination, _, source_port, destination_port = ip.flow(probe)
    return (
        tcp._packet(destination, source, destination_port, source_port, 99, ACK)[:38]
        + (EXPECTED).to_bytes(4, "big")
        + bytes([5 << 4, ACK, 0, 0, 0, 0, 0, 0])
    )


async def leave(user: User, provider: Provider) -> None:
    await user.peer.send(control.Bye("gone"))
    await until(lambda: provider.users == [])


async def writes(provider: Provider, count: int) -> list[bytes]:
    """What the gateway hands to the kernel next."""
    packets: list[bytes] = []
    async with asyncio.timeout(5):
        while len(packets) < count:
            packets += provider.host.tun.collect()
            await asyncio.sleep(0.01)
    return packets


async def test_a_lease_ends_with_resets(make_provider: MakeProvider, make_client: MakeClient) -> None:
    async with make_provider(lease_seconds=LEASE) as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [
            connection(ann.address, 1),
            connection(ann.address, 2),
            connection(ann.address, 3, live=False),
            connection(bytes([100, 64, 9, 9]), 4),
        ]
        await leave(ann, provider)
        assert provider.host.leases != [], "it is held"
        (held,) = provider.gateway.status().held
        assert (held.key, held.addresses) == (ANN.public_key.hex(), list(map(str, ann.welcome.addresses)))
        assert 0 <= held.seconds <= LEASE
        probes = await writes(provider, 2)
        assert [flags_and_number(probe)[0] for probe in probes[:2]] == [SYN, SYN]
        for probe in probes[:2]:
            provider.host.tun.deliver(challenge(probe))
        resets = [packet for packet in await writes(provider, 2) if flags_and_number(packet)[0] == RST]
        assert [flags_and_number(reset)[1] for reset in resets] == [EXPECTED, EXPECTED]
        await until(lambda: provider.host.leases == [])
        assert [one.source_port for one in provider.host.tracked] == [4]
        (line,) = [line for line in provider.said if "lease" in line]
        assert line == f"the lease of {ANN.public_key.hex()} is over; connections that were reset: 2"
        provider.host.tun.deliver(udp_packet(HOST, ann.address, b"late"))
        await until(lambda: not provider.gateway._pump._reading)


async def test_who_stays_keeps_the_lease(make_provider: MakeProvider, make_client: MakeClient) -> None:
    async with make_provider(lease_seconds=LEASE) as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [connection(ann.address, 1)]
        async with asyncio.timeout(10):
            for _ in range(10):
                assert await provider.serves(ann)
                await asyncio.sleep(LEASE / 5)
        assert len(provider.host.tracked) == 1


async def test_servers_that_do_not_answer_hold_nothing_up(
    make_provider: MakeProvider, make_client: MakeClient
) -> None:
    async with make_provider(lease_seconds=LEASE) as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [connection(ann.address, 1)]
        await leave(ann, provider)
        probes = await writes(provider, farewell.ATTEMPTS)
        assert [flags_and_number(probe)[0] for probe in probes] == [SYN] * farewell.ATTEMPTS
        await until(lambda: provider.host.tracked == [])
        await until(lambda: any("reset: 0" in line for line in provider.said))


async def test_who_comes_back_in_the_middle_keeps_what_is_left(
    make_provider: MakeProvider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "ATTEMPT_SECONDS", 60.0)
    async with make_provider(lease_seconds=LEASE) as provider:
        client = await make_client("up", ANN)
        ann = await admitted(client, provider)
        provider.host.tracked = [connection(ann.address, 1)]
        await leave(ann, provider)
        await writes(provider, 1)
        again = await admitted(client, provider)
        assert again.address == ann.address
        assert await provider.serves(again)
        assert len(provider.host.tracked) == 1
        assert not any("lease" in line for line in provider.said)


async def test_after_a_restart_the_rest_of_the_time_is_held(
    make_provider: MakeProvider, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Neither the lease nor the attempts may be over before the test has looked.
    monkeypatch.setattr(farewell, "ATTEMPT_SECONDS", 60.0)
    lease = 15 * LEASE
    async with make_provider(lease_seconds=lease) as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        await until(lambda: (tmp_path / HELD_FILE).exists())
    async with make_provider(lease_seconds=lease) as provider:
        provider.host.tracked = [connection(ann.address, 1)]
        probes = await writes(provider, 1)
        (rules,) = provider.host.users.values()
        assert [str(target.network) for target in rules.targets] == [str(ip_address(HOST)) + "/32"]
        provider.host.tun.deliver(challenge(probes[0]))
        await until(lambda: provider.host.tracked == [])
        await until(lambda: provider.host.leases == [])


async def test_who_is_revoked_has_nothing_left(make_provider: MakeProvider, make_client: MakeClient) -> None:
    """However long a lease is held."""
    async with make_provider() as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [connection(ann.address, 1)]
        provider.authority.store.revoke(ANN.public_key)
        provider.gateway.permissions_changed()
        assert provider.host.leases == [], "at once"
        (probe, *_) = await writes(provider, 1)
        provider.host.tun.deliver(challenge(probe))
        await until(lambda: provider.host.tracked == [])
        await until(lambda: provider.host.leases == [])


def expire(provider: Provider) -> None:
    provider.authority.store.allow(ANN.public_key, "", Grant(expires=time.time() + 1.0))
    provider.gateway.permissions_changed()


def revoke(provider: Provider) -> None:
    provider.authority.store.revoke(ANN.public_key)
    provider.gateway.permissions_changed()


def revoke_elsewhere(provider: Provider) -> None:
    """By a command that could not reach the gateway."""
    with Store(provider.authority.store.path) as store:
        store.revoke(ANN.public_key)


def name_in_policy(provider: Provider) -> None:
    """Who is named there is granted only what it says."""
    path = provider.authority.store.path.with_name("policy.toml")
    path.write_text(f'[users]\nann = "{ANN.public_key.hex()}"\n')
    path.chmod(0o600)
    provider.gateway.reload()


@pytest.mark.parametrize("lose", [expire, revoke, revoke_elsewhere, name_in_policy])
async def test_who_is_not_there_and_is_let_in_no_longer_has_nothing_left(
    make_provider: MakeProvider, make_client: MakeClient, lose: Callable[[Provider], None]
) -> None:
    async with make_provider() as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        bob = await admitted(await make_client("up", BOB), provider)
        provider.host.tracked = [connection(ann.address, 1), connection(bob.address, 2)]
        await bob.peer.send(control.Bye("gone"))
        await leave(ann, provider)
        await asyncio.sleep(3 * absence.TICK)
        assert provider.host.tun.collect() == [], "they are held"
        lose(provider)
        (probe, *_) = await writes(provider, 1)
        provider.host.tun.deliver(challenge(probe))
        await until(lambda: [one.source_port for one in provider.host.tracked] == [2])
        await until(lambda: provider.host.leases == list(bob.welcome.addresses))
        assert [held.key for held in provider.gateway.status().held] == [BOB.public_key.hex()]


async def test_who_leaves_with_a_grant_that_expires(
    make_provider: MakeProvider, make_client: MakeClient
) -> None:
    async with make_provider() as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [connection(ann.address, 1)]
        expire(provider)
        await leave(ann, provider)
        (probe, *_) = await writes(provider, 1)
        provider.host.tun.deliver(challenge(probe))
        await until(lambda: provider.host.tracked == [])


async def test_who_was_revoked_while_nothing_ran_has_nothing_left(
    make_provider: MakeProvider, make_client: MakeClient, tmp_path: Path
) -> None:
    async with make_provider() as provider:
        await admitted(await make_client("up", ANN), provider)
        await until(lambda: (tmp_path / HELD_FILE).exists())
    with Store(tmp_path / "users.sqlite") as store:
        store.revoke(ANN.public_key)
    async with make_provider() as provider:
        over = f"the lease of {ANN.public_key.hex()} is over; connections that were reset: 0"
        await until(lambda: over in provider.said)
        assert provider.gateway.status().held == []


async def test_what_a_look_costs_does_not_grow_with_those_who_are_not_there(
    make_provider: MakeProvider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_provider() as provider:
        await leave(await admitted(await make_client("up", ANN), provider), provider)
        asked = list[bytes]()
        decide = provider.authority.decide

        def counted(key: bytes, now: float) -> Decision:
            asked.append(key)
            return decide(key, now)

        monkeypatch.setattr(provider.gateway._absence, "_decide", counted)
        await asyncio.sleep(10 * absence.TICK)
        assert len(asked) <= 1
        provider.authority.store.allow(BOB.public_key, "", Grant())
        provider.gateway.permissions_changed()
        assert BOB.public_key not in asked, "nothing of hers is held"


async def test_a_kernel_that_refuses_is_told_of(make_provider: MakeProvider, make_client: MakeClient) -> None:
    async with make_provider(lease_seconds=LEASE) as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        provider.host.tracked = [connection(ann.address, 1)]
        await leave(ann, provider)
        provider.host.refuses = True
        await until(lambda: any("its connections may go on" in line for line in provider.said))
        provider.host.refuses = False


def test_probes_of_a_scanner_need_no_rule_each() -> None:
    many = [
        connection(bytes([100, 64, 0, 2]), number, server=bytes([10, 0, number >> 8, number & 255]))
        for number in range(farewell.MAX_TARGETS + 1)
    ]
    assert len(farewell._targets(many[:-1])) == farewell.MAX_TARGETS
    assert farewell._targets(many) == farewell.EVERYWHERE
