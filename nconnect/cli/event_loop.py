"""The event loop of commands that last."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end, in uvloop."""
    # What is loaded by now is there to stay. A look for garbage among it takes longer than a packet may wait,
    # and comes several times a minute under load.
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)
