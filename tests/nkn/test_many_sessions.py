"""A thousand sessions at once in one process."""

from __future__ import annotations

import asyncio

from nconnect.nkn import sessions
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session

from .conftest import MakeClient, MakeDevnet
from .waiting import soon, until

SESSIONS = 1000
# More clients than one, because each may have 256 sessions with bob.
DIALLERS = 5
SIZE = 5000


async def echo(session: Session) -> None:
    while data := await session.read(SIZE):
        await session.write(data)


async def talk(session: Session) -> None:
    """Bytes of its own come back."""
    sent = session.id * (SIZE // len(session.id))
    await session.write(sent)
    received = b""
    while len(received) < len(sent):
        received += await session.read(SIZE)
    assert received == sent


async def test_a_thousand_sessions_at_once(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    assert SESSIONS / DIALLERS <= sessions.MAX_SESSIONS_PER_PEER
    devnet = await make_devnet(verify_signatures=False)
    bob = await make_client(devnet, "bob")
    listener = bob.listen()
    diallers: list[MultiClient] = [await make_client(devnet, f"alice{index}") for index in range(DIALLERS)]
    echoing: set[asyncio.Task[None]] = set()

    async def serve() -> None:
        async for session in listener:
            echoing.add(asyncio.create_task(echo(session)))

    serving = asyncio.create_task(serve())
    dialled = await soon(
        asyncio.gather(*(diallers[index % DIALLERS].dial(bob.address) for index in range(SESSIONS)))
    )
    assert len({session.id for session in dialled}) == SESSIONS
    assert not any(session.closed for session in dialled)
    assert len(bob._sessions) >= SESSIONS
    await soon(asyncio.gather(*map(talk, dialled)))
    # Idle, all of them are there still.
    await soon(asyncio.gather(*map(talk, dialled)))
    await soon(asyncio.gather(*(session.close() for session in dialled)))
    await until(lambda: len(bob._sessions) == 0)
    assert all(len(client._sessions) == 0 for client in diallers)
    listener.close()
    await soon(serving)
    await soon(asyncio.gather(*echoing))
