from __future__ import annotations

import pytest

from nconnect.devnet import names
from nconnect.devnet.names import NAME_DURATION, NOBODY, Names
from nconnect.devnet.rejected import Rejected

ALICE, BOB = b"a" * 32, b"b" * 32


@pytest.fixture
def registry() -> Names:
    registry = Names()
    registry.check_register("MyName", ALICE)
    registry.register("MyName", ALICE, height=7)
    return registry


def test_a_name_is_its_owners_for_a_year_in_any_case(registry: Names) -> None:
    assert registry.get("myNAME") == (ALICE, 7 + NAME_DURATION)
    registry.expire(6 + NAME_DURATION)
    assert registry.get("myname").registrant == ALICE
    registry.expire(7 + NAME_DURATION)
    assert registry.get("myname") is NOBODY
    registry.check_register("myname", BOB)


def test_only_the_owner_may_register_it_again(registry: Names) -> None:
    with pytest.raises(Rejected, match=f"myname is already registered for pubKey {ALICE.hex()}"):
        registry.check_register("myname", BOB)
    registry.check_register("myname", ALICE)
    registry.register("myname", ALICE, height=9)
    assert registry.get("MyName").expires_at == 9 + NAME_DURATION


def test_it_can_be_given_away_and_keeps_its_end(registry: Names) -> None:
    for name, registrant, recipient, words in (
        ("other", ALICE, BOB, "can not transfer unregistered name"),
        ("myname", ALICE, ALICE, "can not transfer names to its owner"),
        ("myname", BOB, b"c" * 32, "registrant incorrect"),
    ):
        with pytest.raises(Rejected, match=words):
            registry.check_transfer(name, registrant, recipient)
    registry.check_transfer("myname", ALICE, BOB)
    registry.transfer("myname", BOB)
    assert registry.get("MyName") == (BOB, 7 + NAME_DURATION)


def test_it_can_be_given_up(registry: Names) -> None:
    with pytest.raises(Rejected, match="name doesn't exist"):
        registry.check_delete("other", ALICE)
    with pytest.raises(Rejected, match="did not belongs to you"):
        registry.check_delete("myname", BOB)
    registry.check_delete("MYNAME", ALICE)
    registry.delete("MYNAME")
    assert registry.get("myname") is NOBODY


def test_memory_is_bounded(registry: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_NAMES", 1)
    with pytest.raises(Rejected, match="keeps 1 names"):
        registry.check_register("another", BOB)
    registry.check_register("myname", ALICE)
