from __future__ import annotations

import pytest

from nconnect.devnet import accounts
from nconnect.devnet.accounts import Accounts
from nconnect.devnet.rejected import Rejected


def test_everybody_begins_with_the_faucets_gift_but_for_the_listed() -> None:
    known = Accounts({b"rich": 1000}, faucet=10)
    assert (known.balance(b"rich"), known.balance(b"anyone")) == (1000, 10)
    known.check(b"anyone", 10)
    known.add(b"anyone", -10)
    assert known.balance(b"anyone") == 0
    with pytest.raises(Rejected, match="not sufficient funds"):
        known.check(b"anyone", 1)


def test_nonces_count_up_from_zero() -> None:
    known = Accounts({}, 0)
    assert known.nonce(b"a") == 0
    known.count(b"a")
    known.count(b"a")
    assert (known.nonce(b"a"), known.nonce(b"b")) == (2, 0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_ACCOUNTS", 2)
    known = Accounts({b"a": 1}, 5)
    with pytest.raises(Rejected, match="2 accounts"):
        known.check(b"b", 1, b"c")
    known.check(b"b", 1, b"a")
    known.add(b"b", -1)
    known.check(b"b", 1, b"a")
    with pytest.raises(Rejected, match="2 accounts"):
        known.check(b"a", 1, b"c")
