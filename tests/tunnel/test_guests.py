"""Users who are connected are held to what they are granted now: by command, file, clock and count."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.errors import ClosedError, HostError
from nconnect.host.grants import Target
from nconnect.permission import policy_file
from nconnect.permission.decision import Decision, RefusalCode
from nconnect.permission.grants import Grant, parse_target
from nconnect.permission.store import Store
from nconnect.tunnel import control, guests

from ..nkn.waiting import soon, until
from .conftest import MakeClient
from .fake_host import LAN
from .raw_peer import udp_packet
from .serving import (
    ANN,
    BOB,
    EVE,
    HOST,
    MakeProvider,
    MakeUser,
    Provider,
    User,
    admitted,
    answer_to,
    connect,
    make_provider,
    provider,
)

__all__ = ["connect", "make_provider", "provider"]

WEB = Grant((parse_target("192.168.77.20:80/tcp"),))
# The bound for a cut, of which this is the part above the kernel.
CUT_SECONDS = 1.0


async def refusal(user: User) -> control.Refused:
    """What a user hears who is cut off, after other messages."""
    while True:
        message = await soon(user.peer.receive())
        if isinstance(message, control.Refused):
            return message


def allow(provider: Provider, key: bytes, grant: Grant, name: str = "") -> None:
    """As the command does it: in the store, then a word to the gateway."""
    provider.authority.store.allow(key, name, grant)
    provider.gateway.permissions_changed()


# --- grants ---


async def test_the_kernel_is_told_what_was_granted(provider: Provider, make_client: MakeClient) -> None:
    allow(provider, EVE.public_key, Grant(WEB.targets, rate=5_000_000), "eve")
    eve = await admitted(await make_client("up", EVE), provider)
    [rules] = provider.host.users.values()
    assert rules.addresses == eve.welcome.addresses
    assert rules.targets == WEB.targets
    assert rules.rate == 5_000_000
    # The user's own networks are left alone, but for what was granted.
    assert eve.welcome.routes == (ip_network("192.168.77.20/32"),)
    assert f"eve is connected: {EVE.public_key.hex()} as {eve.welcome.addresses[0]}" in provider.said


async def test_who_has_no_targets_reaches_all_that_is_served(provider: Provider, connect: MakeUser) -> None:
    await connect(ANN)
    [rules] = provider.host.users.values()
    assert rules.targets == tuple(map(Target, LAN))


async def test_a_grant_beyond_what_is_served(provider: Provider, make_client: MakeClient) -> None:
    """Named by the provider for this user: `--lan` is what the others get."""
    grant = Grant((parse_target("10.9.9.9:443/tcp"), parse_target("10.9.9.8")), served=False)
    allow(provider, EVE.public_key, grant)
    eve = await admitted(await make_client("up", EVE), provider)
    assert eve.welcome.routes == (ip_network("10.9.9.8/31"),)


async def test_another_grant_holds_at_once_and_costs_no_connection(
    provider: Provider, connect: MakeUser
) -> None:
    ann = await connect(ANN)
    allow(provider, ANN.public_key, WEB)
    [rules] = provider.host.users.values()
    assert rules.targets == WEB.targets
    assert await soon(ann.peer.receive()) == control.RoutesChanged((ip_network("192.168.77.20/32"),))
    assert await provider.serves(ann)


async def test_a_change_of_one_user_is_one_transaction_and_none_of_the_others(
    provider: Provider, connect: MakeUser
) -> None:
    await connect(ANN)
    await connect(BOB)
    changes = provider.host.changes
    allow(provider, EVE.public_key, WEB)
    assert provider.host.changes == changes
    with provider.authority.store.transaction():
        provider.authority.store.allow(ANN.public_key, "", WEB)
        provider.authority.store.revoke(BOB.public_key)
    provider.gateway.permissions_changed()
    assert provider.host.changes == changes + 1
    [rules] = provider.host.users.values()
    assert rules.targets == WEB.targets


async def test_who_is_revoked_and_let_in_all_the_same_is_told_of(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    """The policy file names the key in memory, although it may not on the disk any more."""
    file = tmp_path / "policy.toml"
    file.write_text(f'[users]\nann = "{ANN.public_key.hex()}"\n[[grants]]\nusers = ["ann"]\n')
    provider.authority.policy = policy_file.load(file)
    await connect(ANN)
    provider.authority.store.revoke(ANN.public_key)
    # By whichever look comes first.
    for _ in range(2):
        [line] = provider.gateway.permissions_changed()
        assert line.startswith(f"{ANN.public_key.hex()} is still let in by {file}:")
    assert provider.users == [ANN.public_key.hex()]
    provider.authority.store.revoke(BOB.public_key)
    assert len(provider.gateway.permissions_changed()) == 1


# --- cut off ---


async def test_revoked_at_once(provider: Provider, connect: MakeUser) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    begun = time.monotonic()
    provider.authority.store.revoke(ANN.public_key)
    provider.gateway.permissions_changed()
    assert provider.users == [BOB.public_key.hex()]
    assert provider.host.leases == list(bob.welcome.addresses)
    assert time.monotonic() - begun < CUT_SECONDS
    refused = await refusal(ann)
    assert refused.code == RefusalCode.REVOKED
    with pytest.raises(ClosedError):
        while True:
            await soon(ann.peer.receive())
    told = f"(laptop) is cut off: {ANN.public_key.hex()}: the provider has revoked"
    assert any(line.startswith(told) for line in provider.said)
    assert await provider.serves(bob)


async def test_not_a_packet_after_the_cut(provider: Provider, connect: MakeUser) -> None:
    ann, _ = await connect(ANN), await connect(BOB)
    provider.authority.store.revoke(ANN.public_key)
    provider.gateway.permissions_changed()
    late = udp_packet(HOST, ann.address, b"late")
    # To what ends the user's connections; once the lease is over, to nobody.
    provider.host.tun.deliver(late)
    sent = asyncio.create_task(ann.peer.send_packets(*[udp_packet(ann.address, HOST, b"late")] * 10))
    await asyncio.wait({sent}, timeout=0.5)
    sent.cancel()
    assert provider.host.tun.collect() == []
    await until(lambda: any(line.startswith("the lease of ") for line in provider.said))
    dropped = provider.packets["dropped_no_route"]
    provider.host.tun.deliver(late)
    await until(lambda: provider.packets["dropped_no_route"] == dropped + 1)
    with pytest.raises(ClosedError):
        await soon(ann.peer.receive_packets())


async def test_who_was_revoked_does_not_come_back(
    provider: Provider, make_client: MakeClient, connect: MakeUser
) -> None:
    """Although --allow names the key."""
    await connect(ANN)
    provider.authority.store.revoke(ANN.public_key)
    provider.gateway.permissions_changed()
    client = await make_client("up", ANN)
    answer = await answer_to(client, provider, control.Hello(name="laptop"))
    assert isinstance(answer, control.Refused)
    assert answer.code == RefusalCode.REVOKED
    allow(provider, ANN.public_key, Grant())
    assert await provider.serves(await admitted(await make_client("up", ANN), provider))


async def test_a_gateway_that_nobody_tells_finds_out(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    """Another process revoked, and could not reach the control socket."""
    ann = await connect(ANN)
    with Store(tmp_path / "users.sqlite") as command:
        command.revoke(ANN.public_key)
    async with asyncio.timeout(CUT_SECONDS):
        await refusal(ann)
    assert provider.users == []


async def test_a_revoke_in_a_store_that_was_restored(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    """The gateway had the file open that was there before, and commands find the one that is there now."""
    path = tmp_path / "users.sqlite"
    ann = await connect(ANN)
    with Store(tmp_path / "backup") as backup:
        backup.allow(ANN.public_key, "ann", Grant())
    (tmp_path / "backup").replace(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    with Store(path) as command:
        assert command.revoke("ann") is not None
    assert provider.gateway.permissions_changed() == []
    assert provider.users == []
    assert (await refusal(ann)).code == RefusalCode.REVOKED


async def test_expiry_ends_a_session(provider: Provider, make_client: MakeClient) -> None:
    allow(provider, EVE.public_key, Grant(expires=time.time() + 2))
    eve = await admitted(await make_client("up", EVE), provider)
    assert await provider.serves(eve)
    refused = await refusal(eve)
    assert (refused.code, refused.reason) == (RefusalCode.EXPIRED, "what you were granted has expired")
    assert provider.users == []
    assert provider.host.leases == []
    answer = await answer_to(await make_client("up", EVE), provider, control.Hello())
    assert isinstance(answer, control.Refused)
    assert answer.code == RefusalCode.EXPIRED


async def test_a_clock_that_is_set_back_lets_nobody_in_again(
    provider: Provider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(provider, EVE.public_key, Grant(expires=time.time() + 1), "eve")
    eve = await admitted(await make_client("up", EVE), provider)
    await refusal(eve)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() - 3600)
    await until(lambda: any(line.startswith("warning: this machine's clock is ") for line in provider.said))
    await asyncio.sleep(2 * guests.TICK)
    answer = await answer_to(await make_client("up", EVE), provider, control.Hello())
    assert isinstance(answer, control.Refused)
    assert answer.code == RefusalCode.EXPIRED
    assert sum("this machine's clock is" in line for line in provider.said) == 1
    # It is the later time that was wrong.
    provider.authority.store.trust_clock()
    assert await provider.serves(await admitted(await make_client("up", EVE), provider))


async def test_a_quota_ends_a_session_and_is_remembered(
    provider: Provider, make_client: MakeClient, tmp_path: Path
) -> None:
    allow(provider, EVE.public_key, Grant(quota=200_000))
    client = await make_client("up", EVE)
    eve = await admitted(client, provider)
    assert await provider.serves(eve)
    packet = udp_packet(eve.address, HOST, bytes(1000))
    await eve.peer.send_packets(*[packet] * 100)
    await eve.peer.send_packets(*[packet] * 100)
    refused = await refusal(eve)
    assert refused.code == RefusalCode.QUOTA
    assert "quota of 200kB is used up" in refused.reason
    answer = await answer_to(client, provider, control.Hello())
    assert isinstance(answer, control.Refused)
    assert answer.code == RefusalCode.QUOTA
    allow(provider, EVE.public_key, Grant(quota=200_000))
    assert await provider.serves(await admitted(client, provider))


async def test_usage_is_saved(
    make_provider: MakeProvider, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Now and then, and at the end."""
    monkeypatch.setattr(guests, "SAVE_INTERVAL", 0.1)

    def used() -> int:
        with Store(tmp_path / "users.sqlite") as store:
            user = store.find(ANN.public_key)
        return user.used if user is not None else 0

    async with make_provider() as provider:
        ann = await admitted(await make_client("up", ANN), provider)
        assert await provider.serves(ann)
        await until(lambda: used() > 0)
        saved = used()
        assert await provider.serves(ann)
    assert used() > saved


async def test_the_kernel_refuses_to_narrow(provider: Provider, connect: MakeUser) -> None:
    """Nobody keeps what was taken from them because a change failed."""
    ann = await connect(ANN)
    provider.host.refuses = True
    allow(provider, ANN.public_key, WEB)
    assert provider.users == []
    assert (await refusal(ann)).code == RefusalCode.BUSY
    assert "warning: cannot change the firewall: the kernel says no" in provider.said


def break_store(provider: Provider) -> None:
    for table in ("users", "changes"):
        provider.authority.store._db.execute(f"DROP TABLE {table}")


async def test_the_store_cannot_be_read(
    provider: Provider, connect: MakeUser, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full or broken disk: who is connected stays, nobody else comes in, and it is told once."""
    ann = await connect(ANN)
    break_store(provider)
    await until(lambda: any(line.startswith("warning: cannot use") for line in provider.said))
    assert await provider.serves(ann)
    with pytest.raises(ClosedError):
        await admitted(await make_client("up", BOB), provider)
    await asyncio.sleep(2 * guests.TICK)
    assert sum(line.startswith("warning: cannot use") for line in provider.said) == 1


async def test_an_expiry_holds_while_the_store_cannot_be_read(
    provider: Provider, connect: MakeUser, make_client: MakeClient
) -> None:
    """It is known of whoever is connected; a broken disk prolongs nothing."""
    ann = await connect(ANN)
    allow(provider, EVE.public_key, Grant(expires=time.time() + 2), "eve")
    eve = await admitted(await make_client("up", EVE), provider)
    break_store(provider)
    refused = await refusal(eve)
    assert (refused.code, refused.reason) == (RefusalCode.EXPIRED, "what you were granted has expired")
    assert provider.host.leases == list(ann.welcome.addresses)
    assert await provider.serves(ann)


async def test_a_quota_holds_while_the_store_cannot_be_read(
    provider: Provider, make_client: MakeClient
) -> None:
    allow(provider, EVE.public_key, Grant(quota=200_000), "eve")
    eve = await admitted(await make_client("up", EVE), provider)
    break_store(provider)
    assert await provider.serves(eve)
    for _ in range(2):
        await eve.peer.send_packets(*[udp_packet(eve.address, HOST, bytes(1000))] * 100)
    refused = await refusal(eve)
    assert refused.code == RefusalCode.QUOTA
    assert "quota of 200kB is used up" in refused.reason
    assert provider.host.leases == []


async def test_what_the_file_leaves_of_a_grant_while_the_store_cannot_be_read(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    """The file is in memory: of two grants one ends, and the other goes on."""
    text = f'[users]\nann = "{ANN.public_key.hex()}"\n'
    for host, seconds in ((20, 2), (22, 4)):
        end = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
        text += f'[[grants]]\nusers = ["ann"]\nto = ["192.168.77.{host}"]\nexpires = {end}\n'
    write(tmp_path / "policy.toml", text)
    await provider.gateway.reload()
    ann = await connect(ANN)
    break_store(provider)
    assert await soon(ann.peer.receive()) == control.RoutesChanged((ip_network("192.168.77.22/32"),))
    assert (await refusal(ann)).code == RefusalCode.EXPIRED
    assert provider.host.leases == []


async def test_what_is_damaged_of_one_user_keeps_no_other_in(provider: Provider, connect: MakeUser) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    store = provider.authority.store
    store.allow(ANN.public_key, "ann", Grant())
    with store.transaction() as database:
        database.execute("UPDATE users SET targets = 'all'")
    await until(lambda: any("wrong target" in line for line in provider.said))
    store.revoke(BOB.public_key)
    async with asyncio.timeout(CUT_SECONDS):
        await refusal(bob)
    assert await provider.serves(ann)
    # What holds of Ann is looked at again once it can be.
    with store.transaction() as database:
        database.execute("UPDATE users SET targets = '[]'")
    store.revoke(ANN.public_key)
    async with asyncio.timeout(CUT_SECONDS):
        await refusal(ann)


async def test_a_revoke_is_not_forgotten_while_the_store_cannot_be_read(
    provider: Provider, connect: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await connect(ANN)
    decide = provider.authority.decide
    failures = iter([HostError("cannot use it"), HostError("cannot use it still")])

    def sometimes(key: bytes, now: float) -> Decision:
        if failure := next(failures, None):
            raise failure
        return decide(key, now)

    monkeypatch.setattr(provider.authority, "decide", sometimes)
    provider.authority.store.revoke(ANN.public_key)
    with pytest.raises(HostError):
        provider.gateway.permissions_changed()
    async with asyncio.timeout(CUT_SECONDS):
        await refusal(ann)
    assert provider.users == []


async def test_what_a_change_costs_does_not_grow_with_the_users(
    provider: Provider, connect: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connect(ANN)
    await connect(BOB)
    provider.gateway.permissions_changed()
    decide, asked = provider.authority.decide, list[bytes]()

    def counted(key: bytes, now: float) -> Decision:
        asked.append(key)
        return decide(key, now)

    monkeypatch.setattr(provider.authority, "decide", counted)
    allow(provider, ANN.public_key, WEB)
    await asyncio.sleep(2 * guests.TICK)
    assert asked == [ANN.public_key]


# --- the policy file ---


def policy(key: bytes, to: str) -> str:
    return f'[users]\nann = "{key.hex()}"\n[[grants]]\nusers = ["ann"]\nto = ["{to}"]\n'


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


async def test_the_file_is_read_again_and_who_stays_allowed_stays(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    ann, bob = await connect(ANN), await connect(BOB)
    write(tmp_path / "policy.toml", policy(ANN.public_key, "192.168.77.20:80/tcp"))
    await provider.gateway.reload()
    assert {rules.targets for rules in provider.host.users.values()} == {
        WEB.targets,
        tuple(map(Target, LAN)),
    }
    changes = provider.host.changes
    write(tmp_path / "policy.toml", policy(ANN.public_key, "192.168.77.20:80/tcp") + "# as before\n")
    await provider.gateway.reload()
    assert provider.host.changes == changes
    assert await provider.serves(ann)
    assert await provider.serves(bob)
    write(tmp_path / "policy.toml", f'[users]\nann = "{ANN.public_key.hex()}"\n')
    await provider.gateway.reload()
    assert (await refusal(ann)).code == RefusalCode.NOT_ADMITTED
    assert provider.users == [BOB.public_key.hex()]


async def test_the_audit_hears_whom_the_file_lets_in(provider: Provider, tmp_path: Path) -> None:
    """Who is not connected, too; and not of who is named only, or is let in by something else."""
    heard: list[tuple[str, bytes, object, str]] = []

    def hear(kind: str, key: bytes, **facts: object) -> None:
        decision = facts["decision"]
        assert isinstance(decision, Decision)
        heard.append((kind, key, facts["name"], decision.by))

    provider.authority.on_event = hear
    path = tmp_path / "policy.toml"
    for text in (
        policy(EVE.public_key, "192.168.77.20:80/tcp"),
        "# moves it a line down\n" + policy(EVE.public_key, "192.168.77.20:80/tcp"),
        f'[users]\neve = "{EVE.public_key.hex()}"\n',
        policy(ANN.public_key, "192.168.77.20:80/tcp"),
    ):
        write(path, text)
        await provider.gateway.reload()
    assert heard == [
        ("allowed", EVE.public_key, "ann", f"{path}:2"),
        ("revoked", EVE.public_key, "eve", f"{path}:2"),
    ]


async def test_a_file_that_is_wrong_changes_nothing(
    provider: Provider, connect: MakeUser, tmp_path: Path
) -> None:
    ann = await connect(ANN)
    write(tmp_path / "policy.toml", "[users]\nann = 3\n")
    await provider.gateway.reload()
    assert provider.said[-1].startswith(
        f"warning: the policy stays as it was: {tmp_path / 'policy.toml'}:2: ann is not a key"
    )
    assert await provider.serves(ann)


# --- what is told ---


async def test_events(provider: Provider, make_client: MakeClient) -> None:
    """What the audit hears: admitted, changed, cut, left, and refused."""
    heard: list[tuple[str, bytes, dict[str, object]]] = []
    provider.authority.on_event = lambda kind, key, **facts: heard.append((kind, key, facts))
    client = await make_client("up", ANN)
    ann = await admitted(client, provider)
    assert await provider.serves(ann)
    allow(provider, ANN.public_key, WEB, "ann")
    provider.authority.store.revoke("ann")
    provider.gateway.permissions_changed()
    await refusal(ann)
    await until(lambda: heard[-1][0] == "left")
    await answer_to(client, provider, control.Hello())
    assert [kind for kind, _, _ in heard] == ["admitted", "changed", "cut", "left", "refused"]
    assert {key for _, key, _ in heard} == {ANN.public_key}
    facts = {kind: facts for kind, _, facts in heard}
    assert facts["changed"]["grant"] == WEB
    assert facts["cut"]["code"] == facts["refused"]["code"] == RefusalCode.REVOKED
    assert isinstance(facts["left"]["bytes_in"], int) and facts["left"]["bytes_in"] > 0


async def test_who_knocked_and_was_let_in_is_pending_no_more(
    provider: Provider, make_client: MakeClient
) -> None:
    client = await make_client("up", EVE)
    await answer_to(client, provider, control.Hello(name="eve"))
    [knock] = provider.gateway.status().knocks
    assert (knock.key, knock.name, knock.count) == (EVE.public_key.hex(), "eve", 1)
    assert 0 <= knock.last_seconds <= knock.first_seconds < 60
    allow(provider, EVE.public_key, Grant())
    assert provider.gateway.status().knocks == []


async def test_while_there_is_no_store_who_is_there_stays_and_nobody_comes(
    provider: Provider, connect: MakeUser, make_client: MakeClient
) -> None:
    allow(provider, BOB.public_key, Grant())
    ann = await connect(ANN)
    await answer_to(await make_client("up", EVE), provider, control.Hello(name="eve"))
    path = provider.authority.store.path
    away = path.rename(path.with_name("away"))
    await until(lambda: any("No such file" in line for line in provider.said))
    with pytest.raises(ClosedError):
        await answer_to(await make_client("up", BOB), provider, control.Hello())
    assert await provider.serves(ann)
    assert [knock.key for knock in provider.gateway.status().knocks] == [EVE.public_key.hex()]
    away.rename(path)
    provider.gateway.permissions_changed()
    assert await provider.serves(await admitted(await make_client("up", BOB), provider))


async def test_a_knock_of_whom_the_file_names(
    provider: Provider, make_client: MakeClient, tmp_path: Path
) -> None:
    write(tmp_path / "policy.toml", f'[users]\neve = "{EVE.public_key.hex()}"\n')
    await provider.gateway.reload()
    await answer_to(await make_client("up", EVE), provider, control.Hello(name="eve"))
    assert provider.said[-1].endswith(f"to let it in: change {tmp_path / 'policy.toml'}, which names it")
