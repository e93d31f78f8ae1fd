"""Dialling a peer that may forget a dial: attempts under fresh session IDs race, and the first answer wins.

A session repeats its handshake by itself, which is enough against loss. It does not help with @nkn/ncp 1.1.2,
the acceptor of nkn-sdk-js: that forgets a handshake which arrives in the same turn of its event loop in which
another of its sessions waits for something, and then never answers that session ID again. The attempts made
before go on meanwhile, because the peer may only be slow to accept.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator

from nconnect.nkn.session import Session

# A round trip over NKN takes a second at worst, and by then the handshake has been repeated twice (after 0.5
# and 1.25 s): who has not answered has forgotten it, or does not listen. Sooner, slow peers of other SDKs
# would hand their applications sessions that are closed already.
FIRST_RETRY = 2.0
# A busy nkn-sdk-js forgets one dial in four: six in the 30 s that dialling takes by default are enough.
RETRY_GROWTH = 1.5
# Of two dials that arrive together it forgets one: so retries are early or late by up to this part.
JITTER = 0.25

Attempt = Callable[[float], Awaitable[Session]]


def starts(seconds: float) -> Iterator[float]:
    """When attempts start, in seconds from now, if there are ``seconds`` for all."""
    start, retry = 0.0, FIRST_RETRY
    yield start
    while (start := start + retry * random.uniform(1 - JITTER, 1 + JITTER)) < seconds:
        yield start
        retry *= RETRY_GROWTH


async def race(attempt: Attempt, seconds: float) -> Session:
    """What the first attempt to end returns or raises; the others are cancelled.

    ``attempt`` dials one session, is told how many seconds it has, and cleans up if it fails or is cancelled.
    """

    async def run(start: float) -> Session:
        await asyncio.sleep(start)
        return await attempt(seconds - start)

    attempts = [asyncio.create_task(run(start)) for start in starts(seconds)]
    try:
        done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
        winner = min(done, key=attempts.index)
        attempts.remove(winner)
        return winner.result()
    finally:
        for task in attempts:
            task.cancel()
        for loser in await asyncio.gather(*attempts, return_exceptions=True):
            # Two answers in one turn of the event loop.
            if isinstance(loser, Session):
                loser.abort()
