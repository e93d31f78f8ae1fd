"""Bounded memory for what peers send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.nkn import inbox
from nconnect.nkn.inbox import MESSAGE_OVERHEAD, Inbox, Seen

ALICE, BOB = b"a" * 32, b"b" * 32


def test_messages_come_out_in_order() -> None:
    box: Inbox[str] = Inbox()
    assert box.get() is None
    assert box.put(ALICE, 5, "first")
    assert box.put(BOB, 5, "second")
    assert (box.get(), box.get(), box.get()) == ("first", "second", None)


def test_a_flood_costs_only_its_sender() -> None:
    box: Inbox[int] = Inbox(max_bytes=100_000, max_peer_bytes=20_000)
    taken = sum(box.put(ALICE, 1000, index) for index in range(100))
    assert taken == 20_000 // (1000 + MESSAGE_OVERHEAD)
    assert box.dropped == 100 - taken
    assert box.put(BOB, 1000, 1000)
    assert box.get() == 0
    assert box.put(ALICE, 1000, 1001)


@given(st.lists(st.tuples(st.sampled_from([ALICE, BOB, b"c", b"d"]), st.integers(0, 5000) | st.none())))
def test_the_bounds_hold(operations: list[tuple[bytes, int | None]]) -> None:
    box: Inbox[tuple[bytes, int]] = Inbox(max_bytes=15_000, max_peer_bytes=6_000)
    held: list[tuple[bytes, int]] = []
    for peer, size in operations:
        if size is None:
            assert box.get() == (held.pop(0) if held else None)
        elif box.put(peer, size, (peer, size)):
            held.append((peer, size))
        assert sum(size + MESSAGE_OVERHEAD for _, size in held) <= 15_000
        assert sum(size + MESSAGE_OVERHEAD for sender, size in held if sender == peer) <= 6_000
    while held:
        assert box.get() == held.pop(0)
    # All room is free again, for each of them.
    assert all(box.put(peer, 3000, (peer, 0)) for peer in (ALICE, BOB, b"c", b"d"))


def test_only_the_first_copy_is_new() -> None:
    seen = Seen(seconds=300)
    assert seen.first(ALICE, b"1", now=0)
    assert not seen.first(ALICE, b"1", now=1)
    assert seen.first(BOB, b"1", now=1), "another peer may use the same ID"
    assert (ALICE, b"1") in seen
    assert (ALICE, b"2") not in seen
    assert not seen.first(ALICE, b"1", now=299)
    assert seen.first(ALICE, b"1", now=300), "after that time it is forgotten"


def test_what_was_seen_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_SEEN_PER_PEER", 10)
    monkeypatch.setattr(inbox, "MAX_SEEN_PEERS", 5)
    monkeypatch.setattr(inbox, "MAX_SEEN", 30)
    seen = Seen()
    for number in range(100):
        assert seen.first(ALICE, number.to_bytes(8, "big"), now=0)
    assert not seen.first(ALICE, (99).to_bytes(8, "big"), now=0)
    assert seen.first(ALICE, (1).to_bytes(8, "big"), now=0)
    for number in range(20):
        for message in range(20):
            seen.first(bytes([number]), bytes([message]), now=0)
            assert sum(map(len, seen._peers.values())) == seen._count <= 30
            assert len(seen._peers) <= 5
