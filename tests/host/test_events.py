"""Changes of the network are heard, and sleep is noticed.

::

    netns: lo, and what each test adds: a pair of links new0 ── new1, 127.7.7.7, a route, a rule
           NetworkEvents listens in there
"""

from __future__ import annotations

import asyncio

import pytest

from nconnect.host import events
from nconnect.host.events import NetworkEvents, SleepWatch
from nconnect.host.netlink import Netlink

from .namespaces import Netns

PATIENCE = 10.0
CHANGES = [
    "link add new0 type veth peer name new1",
    "address add 127.7.7.7/32 dev lo",
    "route add 203.0.113.0/24 dev lo",
    "-4 rule add priority 77 lookup main",
    "-6 rule add priority 77 lookup main",
]


@pytest.mark.netns
@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_is_heard(netns: Netns, change: str) -> None:
    heard = asyncio.Event()
    watch = NetworkEvents(heard.set)
    try:
        change_it = await asyncio.create_subprocess_exec("ip", *change.split())
        assert await change_it.wait() == 0
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
    finally:
        watch.close()


@pytest.mark.netns
async def test_a_route_that_we_put_where_it_was_is_no_change(netns: Netns) -> None:
    route = ("fd77::/64", 700_003, "unicast", "lo")
    heard = asyncio.Event()
    with Netlink() as host:
        assert host.add_route(*route)
        watch = NetworkEvents(heard.set)
        assert not host.add_route(*route)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5 * events.SETTLE_SECONDS):
                await heard.wait()
        # By somebody else: that is one.
        replaced = ["-6", "route", "replace", "fd77::/64", "dev", "lo"]
        assert await (await asyncio.create_subprocess_exec("ip", *replaced)).wait() == 0
        async with asyncio.timeout(PATIENCE):
            await heard.wait()
    finally:
        watch.close()


async def test_sleep_is_noticed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TICK_SECONDS", 0.001)
    now, woken = 1000.0, 0
    ticks = asyncio.Queue[None]()

    def clock() -> float:
        ticks.put_nowait(None)
        return now

    def on_wake() -> None:
        nonlocal woken
        woken += 1

    watch = SleepWatch(on_wake, clock)
    try:
        async with asyncio.timeout(PATIENCE):
            for slept, expected in ((0.0, 0), (events.SLEEP_SECONDS + 1, 1), (0.5, 1), (3600.0, 2)):
                now += slept
                for _ in range(3):
                    await ticks.get()
                assert woken == expected
    finally:
        watch.close()
