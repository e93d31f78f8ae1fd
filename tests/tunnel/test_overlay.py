"""When the host is looked at, and how much of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from nconnect.errors import HostError
from nconnect.tunnel import overlay

pytestmark = pytest.mark.timeout(20)
# Seconds, so long that a busy machine does not turn three into one.
TICK = 0.05
WHOLE, QUICK = "whole", "quick"


class Machine:
    """A host that records how it is looked at, and what tells of changes."""

    def __init__(self) -> None:
        self.looks: asyncio.Queue[str] = asyncio.Queue()
        self.fails = False
        self.on_change: Callable[[], None] = lambda: None
        self.checks = 0

    def refresh(self, *, unannounced: bool = False) -> list[str]:
        self.looks.put_nowait(QUICK if unannounced else WHOLE)
        if self.fails:
            raise HostError("the disk is full")
        return []

    def on_network_change(self) -> None:
        """Of the client."""

    def on_wake(self) -> None:
        """Of the client."""

    def watch(self, on_change: Callable[[], None]) -> Machine:
        self.on_change = on_change
        return self

    def close(self) -> None:
        """Of a watch."""

    def check(self) -> None:
        self.checks += 1


@pytest.fixture
async def machine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(overlay, "NetworkEvents", machine.watch)
    for other in ("FirewallEvents", "SleepWatch"):
        monkeypatch.setattr(overlay, other, lambda callback: Machine())
    monkeypatch.setattr(overlay, "HOST_CHECK_INTERVAL", TICK)
    keeper = asyncio.create_task(
        overlay.keep(cast(Any, machine), cast(Any, machine), lambda line: None, check=machine.check)
    )
    yield machine
    keeper.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeper


async def test_everything_at_first_and_then_what_no_event_tells_of(machine: Machine) -> None:
    assert [await machine.looks.get() for _ in range(4)] == [WHOLE, QUICK, QUICK, QUICK]
    assert machine.checks >= 4


async def test_everything_when_something_happens(machine: Machine) -> None:
    assert [await machine.looks.get() for _ in range(2)] == [WHOLE, QUICK]
    machine.on_change()
    assert await machine.looks.get() == WHOLE
    assert await machine.looks.get() == QUICK


async def test_everything_from_time_to_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "HOST_LOOK_INTERVAL", 3 * TICK)
    seen = [await machine.looks.get() for _ in range(10)]
    assert 2 <= seen.count(WHOLE) <= 5


async def test_everything_again_soon_after_a_failure(machine: Machine) -> None:
    machine.fails = True
    assert [await machine.looks.get() for _ in range(3)] == [WHOLE, WHOLE, WHOLE]
    machine.fails = False
    seen = [await machine.looks.get() for _ in range(3)]
    assert seen[-1] == QUICK
