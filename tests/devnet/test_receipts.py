from __future__ import annotations

import pytest

from nconnect.devnet import receipts
from nconnect.devnet.receipts import Receipts
from nconnect.errors import CryptoError
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Receipt, decode_frame, encode_receipt

BOB, EVE = KeyPair.from_seed(bytes(32)), KeyPair.from_seed(b"e" * 32)


def receipt(key: KeyPair, prev_hash: bytes) -> Receipt:
    message = decode_frame(encode_receipt(key, prev_hash))
    assert isinstance(message, Receipt)
    return message


def test_a_receipt_is_accepted_once_and_from_the_receiver_only() -> None:
    awaited = Receipts()
    prev_hash = awaited.ask(b"signature", BOB.public_key)
    with pytest.raises(CryptoError):
        awaited.accept(receipt(EVE, prev_hash))
    assert awaited.accept(receipt(BOB, prev_hash))
    assert not awaited.accept(receipt(BOB, prev_hash))
    assert not awaited.accept(receipt(BOB, b"never asked"))


def test_what_is_awaited_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_AWAITED", 2)
    awaited = Receipts()
    first, *later = (awaited.ask(b"%d" % i, BOB.public_key) for i in range(3))
    assert not awaited.accept(receipt(BOB, first))
    assert all(awaited.accept(receipt(BOB, prev_hash)) for prev_hash in later)
