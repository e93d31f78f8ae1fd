"""Who decides: the policy file before the store, the store before the command line, and nobody by default."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nconnect.errors import ConfigError, HostError, RefusedError
from nconnect.permission.authority import Authority
from nconnect.permission.decision import RefusalCode, Source
from nconnect.permission.grants import Grant, parse_target
from nconnect.permission.store import FILE_NAME, Store, clock_is_behind
from nconnect.places import Places

ANN, BOB, EVE = (bytes([number]) * 32 for number in (1, 2, 3))
NOW = 1_700_000_000.0
GRANT = Grant((parse_target("10.0.0.1"),))
POLICY = """
[users]
ann = "{ann}"
[[grants]]
users = ["ann"]
to = ["10.7.7.7"]
quota = "1kB"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


@pytest.fixture
def authority(tmp_path: Path, policy: Path) -> Iterator[Authority]:
    """--allow names Ann, Bob."""
    authority = Authority(Store(tmp_path / "users"), policy, {ANN, BOB})
    yield authority
    authority.close()


def write(policy: Path, text: str = POLICY) -> None:
    policy.write_text(text.format(ann=ANN.hex()))
    policy.chmod(0o600)


def test_nobody_by_default(tmp_path: Path) -> None:
    with Store(tmp_path / "users") as store:
        decision = Authority(store).decide(ANN, NOW)
    assert (decision.grant, decision.code) == (None, RefusalCode.NOT_ADMITTED)
    assert decision.reason


def test_the_command_line_lets_in_to_all(authority: Authority) -> None:
    assert authority.decide(ANN, NOW).grant == Grant()
    assert authority.decide(ANN, NOW).source is Source.COMMAND_LINE
    assert authority.decide(EVE, NOW).grant is None
    assert authority.decide(ANN[:-1] + b"\0", NOW).grant is None
    assert authority.count() == 2


def test_the_store_decides_before_the_command_line(authority: Authority) -> None:
    authority.store.allow(ANN, "ann", GRANT)
    assert authority.decide(ANN, NOW).grant == GRANT
    assert authority.count() == 2
    authority.store.revoke(ANN)
    decision = authority.decide(ANN, NOW)
    assert (decision.grant, decision.code) == (None, RefusalCode.REVOKED)
    authority.store.revoke(BOB)
    assert authority.decide(BOB, NOW).code == RefusalCode.REVOKED
    authority.store.allow(ANN, "", Grant())
    assert authority.decide(ANN, NOW).grant == Grant()


def test_the_file_decides_before_all(authority: Authority, policy: Path) -> None:
    authority.store.allow(ANN, "other", GRANT)
    write(policy)
    assert authority.decide(ANN, NOW).grant == GRANT
    authority.policy = authority.read_policy()
    decision = authority.decide(ANN, NOW)
    assert decision.grant is not None
    assert decision.grant.targets == (parse_target("10.7.7.7"),)
    assert (decision.name, decision.source, decision.by) == ("ann", Source.FILE, f"{policy}:3")
    authority.store.revoke(ANN)
    assert authority.decide(ANN, NOW).source is Source.FILE
    policy.unlink()
    authority.policy = authority.read_policy()
    assert authority.decide(ANN, NOW).code == RefusalCode.REVOKED


def test_a_wrong_file_changes_nothing(authority: Authority, policy: Path, tmp_path: Path) -> None:
    write(policy)
    authority.policy = authority.read_policy()
    write(policy, "[users]\nann = 3\n")
    with pytest.raises(ConfigError, match=f"{policy}:2"):
        authority.read_policy()
    assert authority.decide(ANN, NOW).source is Source.FILE
    with pytest.raises(ConfigError), Store(tmp_path / "others") as store:
        Authority(store, policy)


def test_expiry(authority: Authority) -> None:
    authority.store.allow(EVE, "eve", Grant(expires=NOW + 5))
    decision = authority.decide(EVE, NOW + 4.9)
    assert decision.grant is not None
    assert decision.until == NOW + 5
    decision = authority.decide(EVE, NOW + 5)
    assert (decision.grant, decision.code, decision.name) == (None, RefusalCode.EXPIRED, "eve")


def test_nobody_comes_in_while_there_is_no_store(authority: Authority, policy: Path, tmp_path: Path) -> None:
    """Although it is open still: what it said may be what its owner has taken away."""
    write(policy)
    authority.policy = authority.read_policy()
    authority.store.allow(EVE, "eve", GRANT)
    authority.store.changes()
    (tmp_path / "users").rename(tmp_path / "away")
    with pytest.raises(HostError):
        authority.store.changes()
    for key in (ANN, BOB, EVE):
        with pytest.raises(HostError, match="No such file"):
            authority.decide(key, NOW)
    (tmp_path / "away").rename(tmp_path / "users")
    authority.store.changes()
    assert authority.decide(EVE, NOW).grant == GRANT


def test_a_clock_that_is_set_back_revives_nothing(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it after a power failure, which comes right after the end of a grant that nobody used."""
    clock = time.time()

    def say(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: clock + seconds)

    def decide(authority: Authority) -> int:
        return authority.decide(EVE, authority.now()).code

    authority.store.allow(EVE, "eve", Grant(expires=clock + 5))
    say(4.9)
    assert decide(authority) == 0
    say(5)
    assert decide(authority) == RefusalCode.EXPIRED
    assert not clock_is_behind(authority.now())
    authority.save_usage()
    say(-86400)
    with Store(tmp_path / "users") as store:
        again = Authority(store)
        assert decide(again) == RefusalCode.EXPIRED
        warning = clock_is_behind(again.now())
        assert "clock is 1 day, 0:00:05 behind" in warning and "users --trust-clock" in warning
        say(-1)
        assert not clock_is_behind(again.now())
        assert decide(again) == RefusalCode.EXPIRED
        store.trust_clock()
        assert decide(again) == 0


def test_the_time_is_written_now_and_then(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although nobody uses anything."""
    clock = time.time()
    for seconds, written in ((0, 0), (59, 0), (60, 60), (100, 60), (120, 120)):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: clock + seconds)
        if not seconds:
            authority.store.add_usages({})
        authority.now()
        authority.save_usage()
        assert authority.store.latest_time() == clock + written


def test_quota_counts_what_is_saved_and_what_is_not(authority: Authority) -> None:
    authority.store.allow(EVE, "eve", Grant(quota=1000))
    authority.decide(EVE, NOW)
    authority.count_usage(EVE, 600)
    authority.save_usage()
    authority.save_usage()
    authority.count_usage(EVE, 399)
    decision = authority.decide(EVE, NOW)
    assert decision.grant is not None and decision.used == 999
    authority.count_usage(EVE, 1)
    decision = authority.decide(EVE, NOW)
    assert (decision.grant, decision.code) == (None, RefusalCode.QUOTA)
    assert "1kB is used up" in decision.reason
    authority.save_usage()
    assert authority.decide(EVE, NOW).code == RefusalCode.QUOTA
    authority.store.allow(EVE, "eve", Grant(quota=1000))
    assert authority.decide(EVE, NOW).grant is not None


@pytest.mark.parametrize("seen", [True, False])
def test_what_was_used_before_a_grant_does_not_count_towards_it(
    authority: Authority, tmp_path: Path, seen: bool
) -> None:
    """Another process allows anew while bytes are not saved yet; whether or not we look before we save."""
    authority.store.allow(EVE, "eve", Grant(quota=1000))
    authority.decide(EVE, NOW)
    authority.count_usage(EVE, 900)
    with Store(tmp_path / "users") as other:
        other.allow(EVE, "", Grant(quota=1000))
    authority.count_usage(EVE, 50)
    if seen:
        decision = authority.decide(EVE, NOW)
        assert decision.grant is not None and decision.used == 0
        authority.count_usage(EVE, 7)
        assert authority.decide(EVE, NOW).used == 7
    authority.save_usage()
    assert authority.decide(EVE, NOW).used == (7 if seen else 0)
    authority.count_usage(EVE, 993)
    authority.save_usage()
    user = authority.store.find(EVE)
    assert user is not None
    assert (user.used, user.used_of_grant) == ((1950, 1000) if seen else (1943, 993))
    assert (authority.decide(EVE, NOW).code == RefusalCode.QUOTA) == seen


def test_what_serve_allow_let_pass_does_not_count_towards_a_grant(authority: Authority) -> None:
    """Nothing was known of Ann in the store, and then something of her usage."""
    for _ in range(2):
        authority.decide(ANN, NOW)
        authority.count_usage(ANN, 500)
        authority.store.allow(BOB, "", Grant())
        authority.save_usage()
    authority.count_usage(ANN, 500)
    authority.store.allow(ANN, "ann", Grant(quota=1000))
    authority.save_usage()
    decision = authority.decide(ANN, NOW)
    assert decision.grant is not None and decision.used == 0
    user = authority.store.find(ANN)
    assert user is not None and user.used == 1500


def test_all_that_was_ever_used_counts_towards_a_quota_of_the_file(
    authority: Authority, policy: Path
) -> None:
    authority.store.allow(ANN, "ann", Grant())
    authority.decide(ANN, NOW)
    authority.count_usage(ANN, 600)
    write(policy)
    authority.policy = authority.read_policy()
    authority.store.allow(ANN, "ann", Grant())
    authority.decide(ANN, NOW)
    authority.count_usage(ANN, 399)
    assert authority.decide(ANN, NOW).used == 999
    authority.save_usage()
    assert authority.decide(ANN, NOW).used == 999


def test_strangers_cost_no_memory(authority: Authority) -> None:
    for number in range(100):
        authority.decide(number.to_bytes(32), NOW)
    assert not authority._since and not authority._unsaved


def test_a_quota_of_the_file(authority: Authority, policy: Path) -> None:
    write(policy)
    authority.policy = authority.read_policy()
    authority.count_usage(ANN, 1000)
    assert authority.decide(ANN, NOW).code == RefusalCode.QUOTA


def test_usage_is_saved_at_the_end(tmp_path: Path) -> None:
    places = Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "run")
    authority = Authority.open(places, {ANN})
    authority.count_usage(ANN, 7)
    authority.close()
    with Store(tmp_path / "state" / FILE_NAME) as store:
        user = store.find(ANN)
    assert user is not None and user.used == 7


def test_invites_are_for_who_takes_them(authority: Authority) -> None:
    with pytest.raises(RefusedError) as caught:
        authority.redeem(b"token", EVE, NOW)
    assert caught.value.code == RefusalCode.INVITE
    seen = []

    def redeem(token: bytes, key: bytes, now: float) -> Grant:
        seen.append((token, key, now))
        return GRANT

    authority.redeemer = redeem
    assert authority.redeem(b"token", EVE, NOW) == GRANT
    assert seen == [(b"token", EVE, NOW)]
