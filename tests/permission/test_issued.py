"""Which invites are taken: those that were issued, by whom they are for, as often as they are for."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.errors import HostError, RefusedError, UsageError
from nconnect.host.grants import Target
from nconnect.nkn.keys import KeyPair
from nconnect.permission import invites, issued
from nconnect.permission.decision import RefusalCode
from nconnect.permission.grants import Grant
from nconnect.permission.invites import Invite
from nconnect.permission.issued import Invites
from nconnect.permission.store import Store

PROVIDER, OTHER = (KeyPair.from_seed(bytes([number]) * 32) for number in (1, 2))
ANN, BOB, EVE = (bytes([number]) * 32 for number in (11, 12, 13))
NOW = 1_800_000_000.0
HOUR = 3600
TARGET = Target(ip_network("192.168.1.20/32"), "tcp", (11434, 11434))


class Provider:
    """A store, and its invites; one object of each is what one process has."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.invites = Invites(self.store, PROVIDER)

    def issue(
        self, *, once: bool = False, name: str = "", seconds: int = 0, expires: int = HOUR, at: float = NOW
    ) -> bytes:
        """The token of a new invite."""
        invite = Invite(
            PROVIDER.public_key,
            invites.new_nonce(),
            int(at) + expires,
            once,
            name,
            ("192.168.1.20:11434/tcp",),
            seconds,
            50_000_000,
            10**9,
        )
        return invites.from_text(self.invites.issue(invite, at))

    def redeem(self, token: bytes, key: bytes, now: float = NOW) -> Grant:
        return self.invites.redeem(token, key, now)

    def refusal(self, token: bytes, key: bytes, now: float = NOW) -> str:
        """Why this is refused; nothing has changed then."""
        before = self.store.users()
        with pytest.raises(RefusedError) as refused:
            self.redeem(token, key, now)
        assert refused.value.code == RefusalCode.INVITE
        assert self.store.users() == before
        return refused.value.reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users.sqlite"


@pytest.fixture
def provider(path: Path) -> Iterator[Provider]:
    provider = Provider(path)
    yield provider
    provider.store.close()


def test_who_brings_it_gets_what_it_says(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW + 10)
    token = provider.issue(name="laptop", seconds=7 * 86400)
    grant = provider.redeem(token, ANN, NOW + 10)
    assert grant == Grant((TARGET,), NOW + 10 + 7 * 86400, 50_000_000, 10**9)
    user = provider.store.find(ANN)
    assert user is not None
    assert (user.name, user.grant, user.allowed) == ("laptop", grant, True)
    assert user.by == "invite:" + invites.decode(token).id


def test_for_a_time_while_the_clock_is_behind(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then when it would end; it is open still once the clock is right."""
    clock = NOW
    monkeypatch.setattr(time, "time", lambda: clock)
    token, endless = provider.issue(seconds=60, once=True), provider.issue()
    provider.store.add_usages({})
    clock = NOW - HOUR
    with pytest.raises(HostError, match="clock is 1:00:00 behind"):
        provider.redeem(token, ANN)
    assert provider.redeem(endless, BOB).expires is None
    clock = NOW - 1
    assert provider.redeem(token, ANN).expires == clock + 60


def test_once_is_once_also_after_a_restart(provider: Provider, path: Path) -> None:
    token = provider.issue(once=True)
    provider.redeem(token, ANN)
    assert "was used already" in provider.refusal(token, BOB)
    provider.store.close()
    again = Provider(path)
    assert "was used already" in again.refusal(token, BOB)
    again.redeem(token, ANN)
    again.store.close()


def test_of_many_who_race_for_one_use_one_gets_it(provider: Provider, path: Path) -> None:
    token = provider.issue(once=True)
    keys = [bytes([number]) * 32 for number in range(100, 108)]
    start = threading.Barrier(len(keys))
    got: list[bytes] = []

    def race(key: bytes) -> None:
        process = Provider(path)
        start.wait()
        try:
            process.redeem(token, key)
            got.append(key)
        except RefusedError as refused:
            assert "was used already" in refused.reason
        finally:
            process.store.close()

    threads = [threading.Thread(target=race, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [user.key for user in provider.store.users()] == got
    assert len(got) == 1


def test_an_invite_without_once_is_for_several(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issued, "MAX_USERS", 3)
    token = provider.issue(name="guest")
    for key in (ANN, BOB, EVE):
        provider.redeem(token, key)
    assert "was used already" in provider.refusal(token, bytes(32))
    names = [user.name for user in provider.store.users()]
    assert names == ["guest", f"guest-{BOB.hex()[:16]}", f"guest-{EVE.hex()[:16]}"]


def test_the_same_key_again_changes_nothing(provider: Provider) -> None:
    """Its Welcome may have been lost, or its service starts with the invite each time."""
    token = provider.issue(once=True, seconds=HOUR)
    first = provider.redeem(token, ANN)
    provider.store.add_usage(ANN, 1000)
    assert provider.redeem(token, ANN, NOW + 60) == first
    assert provider.redeem(token, ANN, NOW + 2 * HOUR) == first  # the invite has expired by now
    user = provider.store.find(ANN)
    assert user is not None and user.used_of_grant == 1000


def test_it_replaces_what_a_key_had(provider: Provider) -> None:
    provider.store.allow(ANN, "laptop", Grant())
    provider.redeem(provider.issue(), ANN)
    user = provider.store.find(ANN)
    assert user is not None
    assert (user.name, user.grant.targets) == ("laptop", (TARGET,))


@pytest.mark.parametrize("expires", [None, 1.0])
def test_what_was_allowed_later_is_kept(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, expires: float | None
) -> None:
    """Nobody widens or prolongs it by an invite that they had before; nor is that used up."""
    token = provider.issue(once=True)
    monkeypatch.setattr(time, "time", lambda: NOW + 1)
    narrow = provider.store.allow(ANN, "laptop", Grant((Target(ip_network("10.0.0.1/32")),), expires)).grant
    assert provider.redeem(token, ANN, NOW + 2) == narrow
    assert provider.store.users()[0].grant == narrow
    later = provider.issue(at=NOW + 3)
    assert provider.redeem(later, ANN, NOW + 4).targets == (TARGET,)
    assert provider.redeem(token, BOB, NOW + 5).targets == (TARGET,)


def test_open_invites_of_a_key(provider: Provider) -> None:
    tokens = [provider.issue(), provider.issue(once=True), provider.issue(expires=60), provider.issue()]
    for number, token in enumerate(tokens):
        provider.redeem(token, ANN, NOW + number)
    first, _, third, fourth = (invites.decode(token).id for token in tokens)
    assert issued.open_invites(provider.store, ANN, NOW) == [first, third, fourth]
    provider.invites.cancel(fourth, NOW)
    assert issued.open_invites(provider.store, ANN, NOW + 60) == [first]
    assert issued.open_invites(provider.store, BOB, NOW) == []


def test_a_revoked_key_is_not_let_in_again(provider: Provider) -> None:
    first = provider.issue()
    provider.redeem(first, ANN)
    provider.store.revoke(ANN)
    for token in (first, provider.issue()):
        with pytest.raises(RefusedError, match="revoked your access, and no invite gives it back") as refused:
            provider.redeem(token, ANN)
        assert refused.value.code == RefusalCode.REVOKED


def test_what_it_gave_ends_for_good(provider: Provider) -> None:
    token = provider.issue()
    provider.redeem(token, ANN)
    provider.store.revoke(ANN)
    provider.store.allow(ANN, "", Grant())
    assert "has let you in before" in provider.refusal(token, ANN)


def test_expired(provider: Provider) -> None:
    token = provider.issue(expires=60)
    provider.redeem(token, ANN, NOW + 59)
    assert "has expired" in provider.refusal(token, BOB, NOW + 60)
    assert provider.invites.all(NOW + 60) == []
    assert "has expired" in provider.refusal(token, BOB, NOW + 61)
    # The clock is set back after the records of it are gone.
    assert "not in this provider's records" in provider.refusal(token, BOB, NOW)


def test_cancelled(provider: Provider) -> None:
    token = provider.issue()
    provider.redeem(token, ANN)
    invite = invites.decode(token)
    assert provider.invites.cancel(invite.id.upper(), NOW).users == (ANN,)
    assert "was cancelled" in provider.refusal(token, BOB)
    provider.redeem(token, ANN)
    (listed,) = provider.invites.all(NOW)
    assert (listed.invite, listed.state) == (invite, "cancelled")
    with pytest.raises(UsageError, match=r"no invite 'ffff' .*nconnect invite --list"):
        provider.invites.cancel("ffff", NOW)


def test_another_provider(provider: Provider) -> None:
    invite = dataclasses.replace(invites.decode(provider.issue()), provider=OTHER.public_key)
    assert "is another provider's" in provider.refusal(invites.sign(invite, OTHER), ANN)


def test_signed_but_never_recorded(provider: Provider) -> None:
    """As after the loss of the records, where what was cancelled must stay so."""
    invite = dataclasses.replace(invites.decode(provider.issue()), nonce=bytes(8))
    token = invites.sign(invite, PROVIDER)
    assert "not in this provider's records" in provider.refusal(token, ANN)


def test_altered_and_garbage(provider: Provider) -> None:
    token = provider.issue()
    for place in range(len(token)):
        altered = token[:place] + bytes([token[place] ^ 0x10]) + token[place + 1 :]
        provider.refusal(altered, ANN)
    for garbage in (b"", b"\0", token[:-1], token + b"\0", bytes(5000)):
        provider.refusal(garbage, ANN)


def test_a_later_version(provider: Provider) -> None:
    assert "version 2 and this program knows 1" in provider.refusal(b"\x02" + provider.issue()[1:], ANN)


def test_lists(provider: Provider) -> None:
    token = provider.issue(once=True)
    provider.issue(at=NOW + HOUR - 1)
    provider.redeem(token, ANN)
    assert [(entry.state, entry.users) for entry in provider.invites.all(NOW)] == [
        ("used up", (ANN,)),
        ("open", ()),
    ]
    assert len(provider.invites.all(NOW + HOUR)) == 1


def test_there_are_not_too_many(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issued, "MAX_INVITES", 2)
    provider.issue()
    provider.issue(expires=60)
    with pytest.raises(UsageError, match="2 invites have not expired"):
        provider.issue()
    assert len(provider.invites.all(NOW + 60)) == 1


def test_who_holds_an_invite_is_known_before_a_handshake(provider: Provider) -> None:
    """By the invite and their key together: what a relay sees serves no other key."""
    token = provider.issue(once=True)
    knock = invites.knock(token, ANN)
    expects = provider.invites.expects
    assert expects(f"up-00112233-{knock}", ANN, NOW)
    assert not expects(f"up-00112233-{knock}", EVE, NOW)
    assert not expects(f"up-00112233-{knock}", ANN, NOW + HOUR)
    invite_id, proof = knock.split("-")
    wrong = ("0" if proof[0] != "0" else "1") + proof[1:]
    for identifier in ("", "up", f"up-{invite_id}", f"up-{invite_id}-{wrong}", f"up-{proof}-{proof}", knock):
        assert not expects(identifier, ANN, NOW), identifier
    forged = invites.sign(dataclasses.replace(invites.decode(token), provider=OTHER.public_key), OTHER)
    assert not expects(f"up-{invites.knock(forged, ANN)}", ANN, NOW)
    provider.redeem(token, BOB)
    assert not expects(f"up-{knock}", ANN, NOW)


def test_a_cancelled_one_is_expected_no_more(provider: Provider) -> None:
    token = provider.issue()
    identifier = "up-" + invites.knock(token, ANN)
    assert provider.invites.expects(identifier, ANN, NOW)
    provider.invites.cancel(invites.decode(token).id, NOW)
    assert not provider.invites.expects(identifier, ANN, NOW)


def test_no_secret_is_kept(provider: Provider, path: Path) -> None:
    token = provider.issue()
    provider.redeem(token, ANN)
    provider.store.close()
    signature = token[-64:]
    for file in path.parent.iterdir():
        assert signature not in file.read_bytes()
