"""Two clients with a session between them."""

from __future__ import annotations

import asyncio
import random

from nconnect.ncp import Config, Mode
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session

from .waiting import soon

STREAM = Config(mtu=64 * 1024)
MESSAGE = Config(mode=Mode.MESSAGE, mtu=64 * 1024)
UNORDERED = Config(mode=Mode.UNORDERED, mtu=64 * 1024)


async def connect(alice: MultiClient, bob: MultiClient, config: Config = STREAM) -> tuple[Session, Session]:
    listener = bob.listen(None, config)
    try:
        dialled, accepted = await soon(asyncio.gather(alice.dial(bob.address, config), listener.accept()))
    finally:
        listener.close()
    return dialled, accepted


def some_bytes(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


async def send_all(session: Session, data: bytes) -> None:
    await session.write(data)
    await session.close()
