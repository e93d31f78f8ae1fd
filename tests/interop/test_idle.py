"""Idle sessions with the official SDKs: these answer when ours asks whether they are still there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ..nkn.waiting import until
from . import ours
from .conftest import Join
from .ours import OurSession
from .peers import OFFICIAL, TIMEOUT, Kind, PeerSession, pairs

pytestmark = pytest.mark.interop

ANSWERS = 5


async def answers(*sessions: PeerSession) -> None:
    """Wait until the peer of the one that is ours has answered some questions."""
    (session,) = [ours.session for ours in sessions if isinstance(ours, OurSession)]
    wanted = session.stats.packets_received + ANSWERS
    await until(lambda: session.stats.packets_received >= wanted)
    assert not session.closed


@pytest.mark.parametrize(
    ("dialler", "acceptor"), [*pairs([Kind.OURS], OFFICIAL), *pairs(OFFICIAL, [Kind.OURS])]
)
async def test_an_idle_peer_answers(
    join: Join, dialler: Kind, acceptor: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "SESSION", replace(ours.SESSION, keep_alive=0.1, dead_timeout=TIMEOUT / 2))
    alice, bob = await asyncio.gather(join(dialler, "alice"), join(acceptor, "bob"))
    await bob.listen()
    here, there = await asyncio.gather(alice.dial(bob.address), bob.accept())
    # Before anything was sent, and after.
    await answers(here, there)
    echoing = asyncio.create_task(there.echo())
    sent, received = await here.exchange(5000)
    assert received == sent
    await answers(here, there)
    await here.close()
    assert (await echoing).size == 5000
