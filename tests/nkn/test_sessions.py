"""Who may dial, and how often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nconnect.errors import UsageError
from nconnect.ncp.packet import CLOSE, UNKNOWN, encode_acks, encode_handshake
from nconnect.nkn import sessions
from nconnect.nkn.sessions import CLOSE_INTERVAL, DIAL_SECONDS, Dial, SessionTable

KEY = "ab" * 32
HANDSHAKE = encode_handshake(["__0__", "__1__"], 1 << 22, 1024)


def dial(
    session: int = 1, address: str = f"alice.{KEY}", packet: bytes = HANDSHAKE, now: float = 0.0
) -> Dial:
    key = bytes.fromhex(address.rpartition(".")[2])
    return Dial(address, key, session.to_bytes(8, "big"), packet, "__0__", "__0__", now)


def session_of(dial: Dial) -> Any:
    """All of a Session that the table looks at."""
    return SimpleNamespace(
        remote_address=dial.remote_address, id=dial.session_id, remote_public_key=dial.remote_public_key
    )


def listening(accept: list[str] | None = None) -> SessionTable:
    table = SessionTable()
    table.listen(accept)
    return table


def test_a_dial_that_the_peer_closed_is_not_accepted() -> None:
    table = listening()
    assert table.on_dial(dial(1))
    assert table.on_dial(dial(2))
    assert not table.on_dial(dial(1, packet=CLOSE))
    assert not table.on_dial(dial(1))
    assert table.next_dial(0) == dial(2)
    assert table.next_dial(0) is None


def test_nobody_is_heard_before_listen() -> None:
    table = SessionTable()
    assert not table.on_dial(dial())
    table.listen(None)
    assert table.on_dial(dial())
    table.ignore()
    assert table.next_dial(0) is None
    assert not table.on_dial(dial(2))


def test_who_is_not_heard_gets_no_answer_and_may_ask_again() -> None:
    table, heard = SessionTable(), set[str]()
    table.listen(None, heard.__contains__)
    assert not table.on_dial(dial())
    assert not table.owed_close(dial(2, packet=encode_acks([(1, 1)], 0)))
    heard.add(dial().remote_address)
    assert table.on_dial(dial())
    assert table.owed_close(dial(2, packet=encode_acks([(1, 1)], 0)))
    assert table.next_dial(0) == dial()


@pytest.mark.parametrize(
    ("accept", "taken"),
    [
        (None, True),
        ([], False),
        ([f"{KEY}$"], True),
        ([f"^{KEY}$"], False),
        ([r"^alice\."], True),
        (["bob", "li"], True),
        (["bob"], False),
        ([".*"], True),
    ],
)
def test_patterns_are_searched_in_the_address(accept: list[str] | None, taken: bool) -> None:
    assert listening(accept).on_dial(dial()) is taken


def test_a_pattern_must_be_one() -> None:
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression"):
        listening(["("])


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\xff\xff",
        encode_acks([(1, 1)], 0),
        HANDSHAKE + bytes([0x12, 0xFF, 0x7F]) + bytes(0x3FFF),
    ],
    ids=["empty", "garbage", "acknowledgement", "too large"],
)
def test_only_a_handshake_begins_a_session(packet: bytes) -> None:
    assert not listening().on_dial(dial(packet=packet))


def test_copies_of_a_handshake_are_one_dial() -> None:
    table = listening()
    assert table.on_dial(dial())
    assert not table.on_dial(dial(now=20))
    assert table.next_dial(DIAL_SECONDS + 10) is not None, "it was repeated, so it is not given up"
    assert table.next_dial(0) is None


def test_a_dial_that_was_given_up_is_not_accepted() -> None:
    table = listening()
    table.on_dial(dial(1, now=0))
    table.on_dial(dial(2, now=25))
    accepted = table.next_dial(DIAL_SECONDS + 1)
    assert accepted is not None
    assert accepted.session_id == (2).to_bytes(8, "big")


def test_late_copies_do_not_begin_a_session_again() -> None:
    table = listening()
    table.on_dial(dial())
    accepted = table.next_dial(0)
    assert accepted is not None
    session: Any = session_of(accepted)
    table.add(session)
    assert table.get(accepted.remote_address, accepted.session_id) == session
    assert list(table) == [session]
    table.remove(session, now=1)
    table.remove(session, now=1)
    assert len(table) == 0
    assert not table.on_dial(dial(now=2))
    assert table.on_dial(dial(2, now=2))


def test_a_session_id_has_eight_bytes() -> None:
    short = dial()
    short.session_id = b"1234567"
    assert not listening().on_dial(short)


def test_dials_of_one_key_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_DIALS_PER_PEER", 3)
    table = listening()
    taken = [table.on_dial(dial(number, f"client{number}.{KEY}")) for number in range(10)]
    assert taken == [True] * 3 + [False] * 7
    assert table.refused == 7
    assert table.on_dial(dial(1, "cd" * 32)), "another key has its own share"


def test_all_dials_are_bounded_and_old_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_DIALS", 2)
    table = listening()
    keys = [f"{number:02x}" * 32 for number in range(4)]
    assert table.on_dial(dial(1, keys[0], now=0))
    assert table.on_dial(dial(1, keys[1], now=10))
    assert not table.on_dial(dial(1, keys[2], now=20))
    assert table.on_dial(dial(1, keys[3], now=DIAL_SECONDS + 1))


@pytest.mark.parametrize("name", ["MAX_SESSIONS", "MAX_SESSIONS_PER_PEER"])
def test_sessions_are_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, name, 2)
    table = listening()
    for number in range(2):
        table.add(session_of(dial(number)))
    assert not table.on_dial(dial(3))
    table.remove(next(iter(table)), now=0)
    assert table.on_dial(dial(3))


def test_who_goes_on_with_a_session_that_is_over_is_told_now_and_then() -> None:
    table = SessionTable()
    session = session_of(dial(1))
    acks = encode_acks([(1, 1)], 0)

    def is_told(now: float, packet: bytes = acks) -> bool:
        return bool(table.owed_close(dial(1, packet=packet, now=now)))

    assert not is_told(9.0), "there was no such session"
    table.add(session)
    table.remove(session, 10.0)
    assert not is_told(10.5), "that was under way when we closed"
    assert is_told(10.0 + CLOSE_INTERVAL)
    assert not is_told(10.1 + CLOSE_INTERVAL)
    assert is_told(10.0 + 2 * CLOSE_INTERVAL, HANDSHAKE)
    assert not is_told(100.0, CLOSE), "two closed ends have nothing to say"


def test_who_goes_on_with_the_session_of_an_earlier_process_is_told() -> None:
    acks = encode_acks([(1, 1)], 0)
    table = listening()
    assert table.owed_close(dial(1, packet=acks, now=9.0)) == UNKNOWN
    assert not table.owed_close(dial(1, packet=acks, now=9.1))
    assert not table.owed_close(dial(2, now=9.0)), "a handshake is a dial"
    assert not table.owed_close(dial(3, packet=b"garbage", now=9.0))
    table.on_dial(dial(4, now=9.0))
    assert not table.owed_close(dial(4, packet=acks, now=9.1)), "it waits to be accepted"
    nobody = SessionTable()
    nobody.listen([])
    assert not nobody.owed_close(dial(1, packet=acks, now=9.0)), "a stranger gets no answer at all"


def test_a_dial_that_was_closed_is_not_answered_for_its_copies() -> None:
    table = listening()
    table.on_dial(dial(1))
    table.on_dial(dial(1, packet=CLOSE, now=5.0))
    assert not table.owed_close(dial(1, now=5.1))


def test_what_is_known_of_closes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_CLOSES", 3)
    table = listening()
    for number in range(10):
        table.add(session_of(dial(number)))
        table.remove(session_of(dial(number)), float(number))
    assert len(table._closes) == 3


def test_the_more_sessions_a_peer_has_the_smaller_their_windows() -> None:
    table, sizes = listening(), []
    peer, other = session_of(dial(0)).remote_public_key, bytes(32)
    for number in range(sessions.MAX_SESSIONS_PER_PEER):
        sizes.append(table.window(peer, 4 << 20))
        table.add(session_of(dial(number)))
    assert sizes[: sessions.WHOLE_WINDOWS] == [4 << 20] * sessions.WHOLE_WINDOWS
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 256 << 10
    assert sum(sizes) < 61 * (4 << 20)
    assert table.window(other, 4 << 20) == 4 << 20
    assert table.window(peer, 1) == 1
