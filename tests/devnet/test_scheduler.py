from __future__ import annotations

from functools import partial

import pytest

from nconnect.devnet.scheduler import Scheduler

from .virtual_loop import VirtualLoop


def test_the_scheduler_calls_in_order_with_one_timer() -> None:
    loop = VirtualLoop()
    scheduler = Scheduler(loop)
    called: list[str] = []

    def call(name: str) -> None:
        called.append(f"{name}@{loop.now:g}")

    for when, name in ((1003.0, "c"), (1001.0, "a"), (1002.0, "b"), (1001.0, "a2")):
        scheduler.call_at(when, partial(call, name))
        assert len(loop.timers) == 1
    scheduler.call_at(1001.0, lambda: scheduler.call_at(1001.5, partial(call, "new")))
    loop.run()
    assert called == ["a@1001", "a2@1001", "new@1001.5", "b@1002", "c@1003"]


def test_a_stream_of_calls_does_not_put_off_the_first() -> None:
    loop = VirtualLoop()
    scheduler = Scheduler(loop)
    called: list[float] = []
    for _ in range(20):
        scheduler.call_at(loop.now + 0.0003, lambda: called.append(loop.now))
        loop.now += 0.0002
        if loop.timers and loop.timers[0].when() <= loop.now:
            loop.timers.pop().callback()
    assert called
    loop.run()
    assert len(called) == 20


def test_a_closed_scheduler_calls_nothing() -> None:
    loop = VirtualLoop()
    scheduler = Scheduler(loop)
    scheduler.call_at(1001.0, lambda: pytest.fail("called"))
    scheduler.close()
    assert not loop.timers
