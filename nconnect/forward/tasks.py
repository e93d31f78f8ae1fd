"""Connections as tasks: counted, ended together, and what goes wrong in one costs only that one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

logger = logging.getLogger(__name__)


class Tasks:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run `work` until it ends or `close`."""
        task = asyncio.create_task(_guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel(self) -> None:
        """End all; they clean up in the next turns of the loop."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """End all, and wait until they have cleaned up."""
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _guarded(work: Coroutine[None, None, None]) -> None:
    try:
        await work
    except Exception as error:
        # A mistake of ours that one connection can reach must not end the others.
        logger.error("a connection was ended by %s: %s", type(error).__name__, error)
        logger.debug("where", exc_info=True)
