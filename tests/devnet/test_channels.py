from __future__ import annotations

import pytest

from nconnect.devnet import channels
from nconnect.devnet.channels import Channels
from nconnect.devnet.rejected import Rejected
from nconnect.nkn import transactions_pb2 as pb


def payment(amount: int, number: int = 1, expiration: int = 20) -> pb.NanoPay:
    return pb.NanoPay(
        sender=b"s" * 20,
        recipient=b"r" * 20,
        id=number,
        amount=amount,
        txn_expiration=10,
        nano_pay_expiration=expiration,
    )


def test_only_what_is_new_is_claimed() -> None:
    known = Channels()
    assert known.check_claim(payment(5), 1) == 5
    known.claim(payment(5))
    assert known.check_claim(payment(12), 1) == 7
    assert known.check_claim(payment(5, number=2), 1) == 5
    for amount in (5, 4):
        with pytest.raises(Rejected, match="invalid amount"):
            known.check_claim(payment(amount), 1)


def test_payments_and_channels_end() -> None:
    known = Channels()
    known.check_claim(payment(5), 10)
    with pytest.raises(Rejected, match="txn has expired"):
        known.check_claim(payment(5), 11)
    with pytest.raises(Rejected, match="nano pay has expired"):
        known.check_claim(payment(5, expiration=3), 4)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "MAX_CHANNELS", 1)
    known = Channels()
    known.claim(payment(5))
    with pytest.raises(Rejected, match="keeps 1 nano pay channels"):
        known.check_claim(payment(5, number=2), 1)
    assert known.check_claim(payment(6), 1) == 1
    known.expire(20)
    assert known.check_claim(payment(5, number=2), 1) == 5
