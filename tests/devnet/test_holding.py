from __future__ import annotations

from nconnect.devnet.holding import HeldMessages

ALICE, BOB = b"a" * 32, b"b" * 32


def test_messages_come_out_once_in_order_and_for_their_client_only() -> None:
    held = HeldMessages()
    held.add(ALICE, b"one", expires=10)
    held.add(BOB, b"other", expires=10)
    held.add(ALICE, b"two", expires=10)
    assert len(held) == 3
    assert held.take(ALICE, now=5) == [b"one", b"two"]
    assert held.take(ALICE, now=5) == []
    assert held.take(BOB, now=5) == [b"other"]
    assert (len(held), held.size) == (0, 0)


def test_messages_expire() -> None:
    held = HeldMessages()
    held.add(ALICE, b"short", expires=10)
    held.add(ALICE, b"long", expires=20)
    assert held.expire(9.9) == 0
    assert held.take(BOB, now=15) == []
    held.add(BOB, b"too late", expires=12)
    assert held.take(BOB, now=12) == []
    assert held.expire(10) == 1
    assert held.take(ALICE, now=15) == [b"long"]
    assert (len(held), held.size) == (0, 0)


def test_the_oldest_goes_when_there_are_too_many() -> None:
    held = HeldMessages(max_messages=3)
    assert [held.add(ALICE if i % 2 else BOB, b"%d" % i, expires=9) for i in range(5)] == [0, 0, 0, 1, 1]
    assert held.take(BOB, now=0) == [b"2", b"4"]
    assert held.take(ALICE, now=0) == [b"3"]


def test_the_oldest_go_when_they_are_too_large() -> None:
    held = HeldMessages(max_bytes=100)
    held.add(ALICE, bytes(40), expires=9)
    held.add(BOB, bytes(40), expires=9)
    assert held.add(BOB, bytes(90), expires=9) == 2
    assert held.size == 90
    # One that is larger than all that may be held goes at once.
    assert held.add(BOB, bytes(101), expires=9) == 2
    assert (len(held), held.size) == (0, 0)
