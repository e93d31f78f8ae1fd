"""Sessions that peers dial, handed to the application one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self

from nconnect.errors import ClosedError, ProtocolError
from nconnect.nkn.session import Session


class Listener:
    """Hands out the sessions that accepted peers dial; made by `MultiClient.listen`."""

    def __init__(
        self,
        accept: Callable[[], Session | None],
        on_close: Callable[[], None],
        wait_for_paths: Callable[[], Awaitable[None]],
    ) -> None:
        self._accept = accept
        self._on_close = on_close
        self._wait_for_paths = wait_for_paths
        self._waiting = asyncio.Event()
        self._closed = False

    async def accept(self) -> Session:
        """The next session; ClosedError once the listener or its client is closed."""
        while True:
            if self._closed:
                raise ClosedError("the listener is closed")
            await self._wait_for_paths()
            with contextlib.suppress(ProtocolError):
                session = self._accept()
                if session is not None:
                    return session
                self._waiting.clear()
                await self._waiting.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Session:
        try:
            return await self.accept()
        except ClosedError:
            raise StopAsyncIteration from None

    def close(self) -> None:
        """Accept no more sessions; those accepted go on."""
        if not self._closed:
            self._closed = True
            self._waiting.set()
            self._on_close()

    def wake(self) -> None:
        """A peer dialled."""
        self._waiting.set()
