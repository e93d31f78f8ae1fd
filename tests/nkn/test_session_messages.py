"""Sessions of two MultiClients over a devnet: messages, awaited and by callbacks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from nconnect.errors import ClosedError, UsageError
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session

from .pairs import MESSAGE, UNORDERED, connect, some_bytes
from .waiting import PATIENCE, soon, until


async def test_messages_in_order(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob, MESSAGE)

    async def send() -> None:
        for number in range(500):
            await dialled.send(number.to_bytes(4, "big") * (number % 50 + 1))
        await dialled.close()

    sending = asyncio.create_task(send())
    for number in range(500):
        assert await soon(accepted.receive()) == number.to_bytes(4, "big") * (number % 50 + 1)
    with pytest.raises(ClosedError, match="is closed"):
        await soon(accepted.receive())
    await soon(sending)


async def test_a_message_that_is_too_large(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob, MESSAGE)
    await dialled.send(bytes(dialled.send_mtu))
    for bad in (bytes(dialled.send_mtu + 1), b""):
        with pytest.raises(UsageError):
            await dialled.send(bad)
    assert len(await soon(accepted.receive())) == dialled.send_mtu


class Handlers:
    """Collects what the callbacks of a session are told."""

    def __init__(self, session: Session, fail: bool = False) -> None:
        self.messages: list[bytes] = []
        self.closed: list[Exception | None] = []
        self.writable = 0
        self.fail = fail
        self._changed = asyncio.Event()
        session.set_handlers(self._on_message, self._on_writable, self._on_closed)

    def _on_message(self, message: bytes) -> None:
        self.messages.append(message)
        self._changed.set()
        if self.fail:
            raise RuntimeError("an error of the program")

    def _on_writable(self) -> None:
        self.writable += 1
        self._changed.set()

    def _on_closed(self, error: Exception | None) -> None:
        self.closed.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def test_callbacks(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob, UNORDERED)
    sender, receiver = Handlers(dialled), Handlers(accepted)
    message = some_bytes(60_000, 6)
    for number in range(400):
        while not dialled.try_send(number.to_bytes(4, "big") + message):
            heard = sender.writable
            await sender.until(lambda heard=heard: sender.writable > heard)  # type: ignore[misc]
    await receiver.until(lambda: len(receiver.messages) == 400)
    assert sender.writable, "24 MB do not fit into the send buffer at once"
    assert sorted(int.from_bytes(got[:4], "big") for got in receiver.messages) == list(range(400))
    assert all(got[4:] == message for got in receiver.messages)
    accepted.try_send(b"back")
    await sender.until(lambda: sender.messages == [b"back"])
    await soon(dialled.close())
    await receiver.until(lambda: receiver.closed)
    assert (sender.closed, receiver.closed) == ([None], [None])
    with pytest.raises(ClosedError):
        dialled.try_send(b"too late")


async def test_who_asks_first_is_never_refused(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob, replace(UNORDERED, send_buffer=1))
    sender, receiver = Handlers(dialled), Handlers(accepted)
    for number in range(200):
        while not dialled.takes_message():
            heard = sender.writable
            await sender.until(lambda heard=heard: sender.writable > heard)  # type: ignore[misc]
        assert dialled.try_send(number.to_bytes(4, "big") + bytes(60_000))
    assert sender.writable, "with one message that waits, the next has to"
    await receiver.until(lambda: len(receiver.messages) == 200)
    await soon(dialled.close())
    assert dialled.takes_message()  # try_send says what is wrong


async def test_what_came_before_the_callbacks_is_delivered(alice: MultiClient, bob: MultiClient) -> None:
    dialled, accepted = await connect(alice, bob, replace(UNORDERED, linger=0.05))
    await dialled.send(b"early")
    await soon(dialled.close())
    await until(lambda: accepted.closed)
    handlers = Handlers(accepted)
    await handlers.until(lambda: handlers.closed)
    assert (handlers.messages, handlers.closed) == ([b"early"], [None])


async def test_a_callback_that_fails_ends_its_session_alone(
    alice: MultiClient, bob: MultiClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "nconnect.nkn.session")
    dialled, accepted = await connect(alice, bob, UNORDERED)
    other, other_accepted = await connect(alice, bob, MESSAGE)
    failing, remote = Handlers(accepted, fail=True), Handlers(dialled)
    dialled.try_send(b"trigger")
    await remote.until(lambda: remote.closed)
    assert len(failing.closed) == 1
    (told,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert told.getMessage().endswith("RuntimeError: an error of the program")
    assert told.exc_info is None
    (trace,) = [record for record in caplog.records if record.exc_info]
    assert trace.levelno == logging.DEBUG
    await other.send(b"still here")
    assert await soon(other_accepted.receive()) == b"still here"
