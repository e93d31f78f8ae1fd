"""Source addresses of inbound messages, taken apart."""

from __future__ import annotations

import pytest

from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn import sources
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.sources import Sources

ALICE, BOB = KeyPair.from_seed(b"\x01" * 32), KeyPair.from_seed(b"\x02" * 32)
KEY = BOB.public_key.hex()


@pytest.mark.parametrize(
    ("src", "remote_id", "address"),
    [
        (KEY, "", KEY),
        (f"bob.{KEY}", "", f"bob.{KEY}"),
        (f"__3__.{KEY}", "__3__", KEY),
        (f"__3__.bob.{KEY}", "__3__", f"bob.{KEY}"),
        (f"__3__.__1__.{KEY}", "__3__", f"__1__.{KEY}"),
        (f"__x__.{KEY}", "", f"__x__.{KEY}"),
        (f"__{'9' * 900}__.{KEY}", "", f"__{'9' * 900}__.{KEY}"),
    ],
)
def test_parts(src: str, remote_id: str, address: str) -> None:
    source = Sources(ALICE).get(src)
    assert (source.remote_id, source.address, source.public_key) == (remote_id, address, BOB.public_key)
    assert source.shared_key == BOB.shared_key(ALICE.public_key)


def test_what_is_no_address() -> None:
    with pytest.raises(DecodeError):
        Sources(ALICE).get("bob")
    with pytest.raises(CryptoError):
        Sources(ALICE).get("00" * 32)
    with pytest.raises(DecodeError, match="100065 characters"):
        Sources(ALICE).get(f"{'a' * 100_000}.{KEY}")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_SOURCES", 3)
    known = Sources(ALICE)
    for number in range(10):
        assert known.get(f"{number}.{KEY}").address == f"{number}.{KEY}"
        assert len(known._known) <= 3
