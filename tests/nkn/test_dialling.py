"""A peer that forgets a dial is dialled again, under another session ID."""

from __future__ import annotations

import asyncio

import pytest

from nconnect.errors import ClosedError, DialTimeoutError
from nconnect.nkn import dialling
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.nkn.sessions import Dial

from .waiting import soon, until


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "FIRST_RETRY", 0.02)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.0, [0.0]), (2.0, [0.0]), (3.0, [0.0, 2.0]), (10.0, [0.0, 2.0, 5.0, 9.5])],
)
def test_when_attempts_start(monkeypatch: pytest.MonkeyPatch, seconds: float, starts: list[float]) -> None:
    monkeypatch.setattr(dialling, "JITTER", 0.0)
    assert list(dialling.starts(seconds)) == starts


def test_retries_of_many_dials_spread() -> None:
    seconds = {list(dialling.starts(5.0))[1] for _ in range(10)}
    assert len(seconds) > 1
    assert all(1.5 <= second <= 2.5 for second in seconds)


@pytest.mark.usefixtures("impatient")
async def test_a_peer_that_forgot_a_dial_answers_another(
    alice: MultiClient, bob: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = bob.listen(None)
    table, seen = bob._sessions, list[bytes]()
    remember = table.on_dial

    def forget_the_first_two(dial: Dial) -> bool:
        if dial.session_id not in seen:
            seen.append(dial.session_id)
        return dial.session_id not in seen[:2] and remember(dial)

    monkeypatch.setattr(table, "on_dial", forget_the_first_two)
    dialled, accepted = await soon(asyncio.gather(alice.dial(bob.address), listener.accept()))
    assert dialled.id == accepted.id == seen[2]
    await dialled.write(b"hello")
    assert await soon(accepted.read(5)) == b"hello"
    assert [session.id for session in alice._sessions] == [dialled.id]


@pytest.mark.usefixtures("impatient")
async def test_a_slow_peer_is_left_with_one_session(alice: MultiClient, bob: MultiClient) -> None:
    listener = bob.listen(None)
    dial = asyncio.create_task(alice.dial(bob.address))
    await until(lambda: len(bob._sessions._dials) >= 3)
    accepted = await soon(listener.accept())
    dialled = await soon(dial)
    assert dialled.id == accepted.id
    await until(lambda: not bob._sessions._dials)
    assert len(alice._sessions) == len(bob._sessions) == 1


async def test_a_peer_that_refuses_is_not_asked_again() -> None:
    attempts = list[float]()

    async def refused(seconds: float) -> Session:
        attempts.append(seconds)
        raise ClosedError("refused")

    with pytest.raises(ClosedError, match="refused"):
        await soon(dialling.race(refused, 30.0))
    assert attempts == [30.0]


@pytest.mark.usefixtures("impatient")
async def test_all_attempts_end_together(alice: MultiClient, bob: MultiClient) -> None:
    with pytest.raises(DialTimeoutError, match=r"did not answer in 0\.3 s"):
        await soon(alice.dial(bob.address, timeout=0.3))
    assert len(alice._sessions) == 0
    dial = asyncio.create_task(alice.dial(bob.address))
    await until(lambda: len(alice._sessions) >= 3)
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    assert len(alice._sessions) == 0
