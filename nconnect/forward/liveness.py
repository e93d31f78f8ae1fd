"""Finding out that the other end of a tunnel is gone.

NCP has no keep-alive: a session that only waits for data never learns that its peer was killed or restarted.
So the ends of a tunnel ask each other which of their sessions there still are, by NKN messages::

    question    b"nconnect-tunnel?" and the 8-byte IDs of sessions
    reply       b"nconnect-tunnel!" and those of the IDs whose session there is

A peer that never replied (nkn-tunnel does not) is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nconnect.errors import NconnectError
from nconnect.nkn.client import State
from nconnect.nkn.messages import MESSAGE_ID_SIZE
from nconnect.nkn.multiclient import Message, MultiClient
from nconnect.nkn.session import Session

logger = logging.getLogger(__name__)

QUESTION = b"nconnect-tunnel?"
REPLY = b"nconnect-tunnel!"

ASK_INTERVAL = 10.0
"""Seconds between two questions to a peer. A session is asked for when it is as old: its dialler may not have
it yet when its acceptor does."""
REPLY_TIMEOUT = 5.0
"""Seconds for the reply."""
MAX_MISSED = 3
"""Questions in a row without a reply after which a peer that used to reply is gone."""
MAX_ASKED = 1024
"""Sessions in a question: as many as there may be."""


class Liveness:
    """Watches the sessions of `client`; `run` until cancelled. `answers` says to whom it replies."""

    def __init__(self, client: MultiClient, answers: Callable[[str], bool]) -> None:
        self._client = client
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._sessions: dict[str, dict[bytes, tuple[Session, float]]] = {}
        self._missed: dict[str, int] = {}
        """Questions without reply, for each peer that ever replied."""

    @contextmanager
    def watch(self, session: Session) -> Iterator[None]:
        """Abort `session` in here when its peer no longer has it."""
        peer = session.remote_address
        sessions = self._sessions.setdefault(peer, {})
        sessions[session.id] = session, self._loop.time()
        try:
            yield
        finally:
            del sessions[session.id]
            if not sessions and self._sessions.get(peer) is sessions:
                del self._sessions[peer]
                self._missed.pop(peer, None)

    def watches(self, address: str) -> bool:
        """Whether there is a session with this peer."""
        return address in self._sessions

    async def run(self) -> None:
        """Ask and answer."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._answer())
            group.create_task(self._ask())

    async def _answer(self) -> None:
        async for message in self._client:
            data = message.data
            if isinstance(data, bytes) and data.startswith(QUESTION) and self._answers(message.src):
                known = self._sessions.get(message.src, {})
                there = [one for one in _ids(data) if one in known]
                try:
                    await message.reply(REPLY + b"".join(there))
                except NconnectError as error:
                    logger.debug("cannot reply to %s: %s", message.src, error)

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(ASK_INTERVAL)
            await asyncio.gather(*map(self._ask_one, tuple(self._sessions)))

    async def _ask_one(self, peer: str) -> None:
        old = self._loop.time() - ASK_INTERVAL
        asked = [number for number, (_, since) in self._sessions[peer].items() if since <= old]
        if not asked:
            return
        try:
            reply = await self._client.send(peer, QUESTION + b"".join(asked), reply_timeout=REPLY_TIMEOUT)
        except NconnectError as error:
            self._on_silence(peer, error)
            return
        if reply is not None and isinstance(reply.data, bytes) and reply.data.startswith(REPLY):
            self._on_reply(peer, asked, reply)

    def _on_reply(self, peer: str, asked: list[bytes], reply: Message) -> None:
        assert isinstance(reply.data, bytes)
        there = set(_ids(reply.data))
        sessions = self._sessions.get(peer)
        if sessions is None:
            return  # the last one ended while we waited
        self._missed[peer] = 0
        for number in asked:
            if number not in there and number in sessions:
                logger.info("%s no longer has the session %s", peer, number.hex())
                sessions[number][0].abort()

    def _on_silence(self, peer: str, error: NconnectError) -> None:
        if peer not in self._missed or not any(path.state is State.READY for path in self._client.paths):
            return
        self._missed[peer] += 1
        logger.debug("%s did not reply: %s", peer, error)
        if self._missed[peer] >= MAX_MISSED:
            logger.info("%s is gone", peer)
            for session, _ in tuple(self._sessions.get(peer, {}).values()):
                session.abort()


def _ids(data: bytes) -> list[bytes]:
    """The session IDs of a question or reply."""
    start, end = len(QUESTION), min(len(data), len(QUESTION) + MAX_ASKED * MESSAGE_ID_SIZE)
    return [data[at : at + MESSAGE_ID_SIZE] for at in range(start, end, MESSAGE_ID_SIZE)]
