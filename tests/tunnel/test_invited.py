"""Users with invites, good ones and bad, at a provider's door; and what the audit tells of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from nconnect.errors import (
    ClosedError,
    CryptoError,
    DialTimeoutError,
    HostError,
    RefusedError,
    TurnedAwayError,
)
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.permission import invites
from nconnect.permission.audit import Audit
from nconnect.permission.audit_reader import Entry, Reader
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant, parse_target
from nconnect.permission.invites import Invite
from nconnect.permission.issued import Invites
from nconnect.permission.store import Store
from nconnect.secure.identity import Identity
from nconnect.tunnel import admission, control, joining
from nconnect.tunnel.admission import Admission, Admitted
from nconnect.tunnel.control import RefusalCode
from nconnect.tunnel.link import OVERLAY_SESSION

from ..nkn.waiting import soon, until
from .conftest import MakeClient
from .raw_peer import RawPeer

ANN, BOB, EVE = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2, 5))
PROVIDER, OTHER = (KeyPair.from_seed(bytes([number]) * 32) for number in (9, 10))
TARGET = "192.168.1.20:11434/tcp"
GRANT = Grant((parse_target(TARGET),))


class Provider:
    """An admission with a store and an audit on disk; what it welcomes people to is nothing."""

    def __init__(self, client: MultiClient, directory: Path) -> None:
        self.said: list[str] = []
        self.authority = Authority(Store(directory / "users.sqlite"), directory / "policy.toml")
        self.invites = Invites(self.authority.store, PROVIDER)
        self.authority.redeemer, self.authority.expects = self.invites.redeem, self.invites.expects
        self.authority.on_event = Audit(directory / "audit", self.said.append).record
        self._audit = directory / "audit"
        identity = Identity(PROVIDER.seed)
        self.admission = Admission(
            identity, self.authority, self.said.append, self._suits, self._offer, self._follow
        )
        self.listener = client.listen(config=OVERLAY_SESSION, hears=self.admission.hears)

    def _suits(self, hello: control.Hello) -> None:
        if control.CAPABILITY_FORWARD in hello.capabilities:
            raise RefusedError(RefusalCode.KIND, "connect with `nconnect up` instead")

    def _offer(self, key: bytes, hello: control.Hello, grant: Grant) -> control.Welcome:
        networks = tuple(target.network for target in grant.reaches([ip_network("192.168.1.0/24")]))
        return control.Welcome((ip_address("100.64.0.2"),), (), 1500, networks)

    async def _follow(self, admitted: Admitted) -> None:
        while not isinstance(await admitted.link.receive(), control.Bye):
            pass

    def issue(self, *, once: bool = False, seconds: int = 3600, key: KeyPair = PROVIDER) -> bytes:
        """The token of a new invite, as `nconnect invite` makes it."""
        expires = int(time.time()) + seconds
        invite = Invite(key.public_key, invites.new_nonce(), expires, once, targets=(TARGET,))
        if key is not PROVIDER:
            return invites.sign(invite, key)
        return invites.from_text(self.invites.issue(invite, time.time()))

    def audited(self) -> list[Entry]:
        with Reader(self._audit) as reader:
            return list(reader.entries())

    def events(self) -> list[tuple[str, str]]:
        """Event and key of what the audit tells."""
        return [(entry.event, entry.key) for entry in self.audited()]


Start = Callable[[], AbstractAsyncContextManager[Provider]]


@pytest.fixture
def start(make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """A provider; a second one is the same after a restart."""
    monkeypatch.setattr(admission, "STRANGER_INTERVAL", 0.0)

    @contextlib.asynccontextmanager
    async def start() -> AsyncIterator[Provider]:
        client = await make_client("", PROVIDER)
        provider = Provider(client, tmp_path)
        serving = asyncio.create_task(provider.admission.accept(provider.listener))
        try:
            yield provider
        finally:
            serving.cancel()
            await provider.admission.close()
            provider.authority.close()
            await client.close()

    return start


@pytest.fixture
async def provider(start: Start) -> AsyncIterator[Provider]:
    async with start() as provider:
        yield provider


async def knock(client: MultiClient, token: bytes = b"") -> control.Welcome | RefusedError:
    """What becomes of a user with this token, as `nconnect up` sees it."""
    hello = control.Hello(name="eve", invite_token=token)
    try:
        link, welcome = await soon(joining.join(client, Address("", PROVIDER.public_key), hello))
    except RefusedError as error:
        return error
    await link.close("done")
    return welcome


async def refused(client: MultiClient, token: bytes) -> str:
    """The words for a user whose invite is not taken."""
    answer = await knock(client, token)
    assert isinstance(answer, RefusedError)
    assert answer.code == RefusalCode.INVITE
    assert "ask the provider for another invite" in answer.reason
    return answer.reason


async def welcomed(client: MultiClient, token: bytes = b"") -> control.Welcome:
    answer = await knock(client, token)
    assert isinstance(answer, control.Welcome)
    return answer


async def test_the_key_is_let_in_from_then_on(provider: Provider, make_client: MakeClient) -> None:
    ann = await make_client("up", ANN)
    assert isinstance(await knock(ann), RefusedError)
    token = provider.issue(once=True)
    welcome = await welcomed(ann, token)
    assert welcome.routes == (ip_network("192.168.1.20/32"),)
    await welcomed(ann)
    await until(lambda: len(provider.audited()) == 6)
    key = ANN.public_key.hex()
    names = ["refused", "redeemed", "admitted", "left", "admitted", "left"]
    assert provider.events() == [(name, key) for name in names]
    redeemed, admitted, left = provider.audited()[1:4]
    assert redeemed.source == admitted.source == "invite:" + invites.decode(token).id
    assert redeemed.grant is not None and redeemed.grant.targets == (TARGET,)
    assert admitted.addresses == ("100.64.0.2",)
    assert left.bytes_in == 0 and left.seconds is not None


async def test_of_two_who_race_for_one_use_one_gets_it(provider: Provider, make_client: MakeClient) -> None:
    clients = [await make_client("up", key) for key in (ANN, BOB, EVE)]
    token = provider.issue(once=True)
    answers = await asyncio.gather(*(knock(client, token) for client in clients))
    assert sum(isinstance(answer, control.Welcome) for answer in answers) == 1
    losers = [answer for answer in answers if isinstance(answer, RefusedError)]
    assert all("was used already" in loser.reason for loser in losers)
    assert [event for event, _ in provider.events()].count("redeemed") == 1
    assert len(provider.authority.store.users()) == 1


async def test_replay_after_a_restart(start: Start, make_client: MakeClient) -> None:
    ann, eve = await make_client("up", ANN), await make_client("up", EVE)
    async with start() as provider:
        token = provider.issue(once=True)
        await welcomed(ann, token)
    async with start() as provider:
        assert "was used already" in await refused(eve, token)
        await welcomed(ann, token)
        await welcomed(ann)


async def test_what_is_no_invite_is_told_to_both_sides(provider: Provider, make_client: MakeClient) -> None:
    eve = await make_client("up", EVE)
    good = provider.issue()
    cancelled = provider.issue()
    provider.invites.cancel(invites.decode(cancelled).id, time.time())
    invite = dataclasses.replace(invites.decode(good), nonce=bytes(8))
    attempts = {
        "is not as its provider signed it": good[:60] + bytes([good[60] ^ 1]) + good[61:],
        "the invite is cut off": good[:50],
        "not as its provider signed": good[:-1],
        "is of version 2 and this program knows 1": b"\x02" + good[1:],
        "was cancelled": cancelled,
        "has expired": provider.issue(seconds=-1),
        "is another provider's": provider.issue(key=OTHER),
        "is not in this provider's records any more": invites.sign(invite, PROVIDER),
        "has 1 to 2048 bytes": bytes(control.MAX_INVITE),
    }
    for words, token in attempts.items():
        assert words in await refused(eve, token), words
    assert provider.authority.store.users() == []
    line = provider.said[0]
    assert line.startswith(f"not let in: {EVE.public_key.hex()} (eve): the invite is not as")
    await until(lambda: len(provider.audited()) == len(attempts))
    for entry, words in zip(provider.audited(), attempts, strict=True):
        assert (entry.event, entry.key) == ("refused", EVE.public_key.hex())
        assert words in entry.reason


async def test_more_than_any_invite_has_ends_the_session(provider: Provider, make_client: MakeClient) -> None:
    with pytest.raises(ClosedError):
        await knock(await make_client("up", EVE), bytes(control.MAX_INVITE + 1))
    assert provider.events() == []


async def test_a_stale_invite_takes_nothing_from_who_is_let_in(
    provider: Provider, make_client: MakeClient
) -> None:
    provider.authority.store.allow(ANN.public_key, "laptop", Grant())
    ann = await make_client("up", ANN)
    for token in (b"garbage", provider.issue(seconds=-1), provider.issue(key=OTHER)):
        assert (await welcomed(ann, token)).routes == (ip_network("192.168.1.0/24"),)
    assert (await welcomed(ann, provider.issue())).routes == (ip_network("192.168.1.20/32"),)


async def test_the_policy_file_decides_about_whom_it_names(
    start: Start, make_client: MakeClient, tmp_path: Path
) -> None:
    key = ANN.public_key.hex()
    policy = f'[users]\nann = "{key}"\n[[grants]]\nusers = ["ann"]\nto = ["192.168.1.7"]\n'
    (tmp_path / "policy.toml").write_text(policy)
    async with start() as provider:
        token = provider.issue(once=True)
        ann = await make_client("up", ANN)
        assert (await welcomed(ann, token)).routes == (ip_network("192.168.1.7/32"),)
        assert [issued.state for issued in provider.invites.all(time.time())] == ["open"]


async def test_the_wrong_command_uses_no_invite_up(provider: Provider, make_client: MakeClient) -> None:
    """The same person's other command may well run with another key."""
    token = provider.issue(once=True)
    hello = control.Hello(
        name="eve", invite_token=token, capabilities=frozenset({control.CAPABILITY_FORWARD})
    )
    with pytest.raises(RefusedError) as refusal:
        await soon(joining.join(await make_client("up", EVE), Address("", PROVIDER.public_key), hello))
    assert refusal.value.code == RefusalCode.KIND
    await welcomed(await make_client("up", ANN), token)


async def test_who_was_revoked_stays_out(provider: Provider, make_client: MakeClient) -> None:
    ann = await make_client("up", ANN)
    token = provider.issue()
    await welcomed(ann, token)
    provider.authority.store.revoke(ANN.public_key)
    for attempt in (b"", token, provider.issue()):
        answer = await knock(ann, attempt)
        assert isinstance(answer, RefusedError)
        assert answer.code == RefusalCode.REVOKED


async def test_a_store_that_cannot_be_written(
    provider: Provider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, say: the user may try again, the provider is told, and the invite is still good."""
    token = provider.issue(once=True)
    ann = await make_client("up", ANN)
    with monkeypatch.context() as patch:

        def full(*arguments: object, **options: object) -> None:
            raise HostError("cannot use users.sqlite: database or disk is full")

        patch.setattr(provider.authority.store, "allow", full)
        answer = await knock(ann, token)
    assert isinstance(answer, RefusedError)
    assert (answer.code, "its log says why" in answer.reason) == (RefusalCode.BUSY, True)
    assert any("database or disk is full" in line for line in provider.said)
    await welcomed(ann, token)


async def test_an_audit_that_cannot_be_written_keeps_nobody_out(
    provider: Provider, make_client: MakeClient, tmp_path: Path
) -> None:
    (tmp_path / "audit").touch()
    ann = await make_client("up", ANN)
    for _ in range(2):
        await welcomed(ann, provider.issue())
    assert [line for line in provider.said if "the audit" in line] == [
        f"warning: the audit in {tmp_path / 'audit'} cannot be written: File exists; it goes on without"
    ]


async def test_the_secret_is_in_no_log(
    provider: Provider, make_client: MakeClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = provider.issue()
    await welcomed(await make_client("up", ANN), token)
    await refused(await make_client("up", EVE), token[:-1])
    hello = control.Hello(invite_token=token)
    shown = [*provider.said, caplog.text, repr(hello)]
    shown += [path.read_bytes().decode("latin-1") for path in (tmp_path / "audit").iterdir()]
    secrets = (token[-32:].hex(), repr(token[-32:])[2:-1], invites.to_text(token), token.decode("latin-1"))
    assert not [secret for secret in secrets for text in shown if secret in text]


# --- who gets to see it ---


async def test_who_says_only_that_they_have_a_token_waits_with_the_strangers(
    provider: Provider, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is heard after TLS only."""
    monkeypatch.setattr(admission, "STRANGER_INTERVAL", 3600.0)
    eve = await make_client("up", EVE)
    assert isinstance(await knock(eve, b"garbage"), RefusedError)
    with pytest.raises(TurnedAwayError):
        await knock(eve, provider.issue())
    await welcomed(await make_client("up", ANN), provider.issue())


async def test_who_was_invited_is_heard_whatever_strangers_do(
    start: Start, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers use up what there is for them; also one who saw the identifier of an invited user."""
    monkeypatch.setattr(admission, "STRANGERS_AT_ONCE", 1)
    monkeypatch.setattr(admission, "STRANGERS_PER_SECOND", 0)
    async with start() as provider:
        token = provider.issue()
        seen = joining.identifier("up", ANN, token)
        assert isinstance(await knock(await make_client("up", BOB)), RefusedError)
        with pytest.raises(TurnedAwayError):
            await knock(await make_client(seen, EVE), token)
        await welcomed(await make_client(seen, ANN), token)


async def test_who_has_an_invite_does_not_get_every_dial_answered(
    start: Start, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It proves itself for as many keys as its holder makes up; users are heard all the same."""
    monkeypatch.setattr(admission, "ANSWERS_AT_ONCE", 2)
    monkeypatch.setattr(admission, "ANSWERS_PER_SECOND", 0)
    async with start() as provider:
        provider.authority.store.allow(ANN.public_key, "ann", Grant())
        identifier = joining.identifier("up", EVE, provider.issue())
        eve = await make_client(identifier, EVE)
        for _ in range(2):
            (await soon(eve.dial(PROVIDER.public_key.hex(), OVERLAY_SESSION))).abort()
        with pytest.raises(DialTimeoutError):
            await eve.dial(PROVIDER.public_key.hex(), OVERLAY_SESSION, timeout=1.0)
        await welcomed(await make_client("up", ANN), b"")


async def test_somebody_else_at_the_provider_s_address_gets_no_token(make_client: MakeClient) -> None:
    """A node that could answer in the provider's name still has not the key that TLS asks for."""
    client = await make_client("", PROVIDER)
    listener = client.listen(config=OVERLAY_SESSION)
    heard: list[object] = []

    async def intrude() -> None:
        peer = RawPeer(await listener.accept(), Identity(OTHER.seed), server=True)
        await peer.handshake()
        heard.append(await peer.receive())

    intruder = asyncio.create_task(intrude())
    with pytest.raises(CryptoError):
        await knock(await make_client("up", ANN), b"the secret")
    with pytest.raises((ClosedError, CryptoError)):
        await soon(intruder)
    assert heard == []
