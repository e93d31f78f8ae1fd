"""What happens to this machine's network: links, addresses, routes and rules that change, and sleep.

Sources: rtnetlink(7), linux/rtnetlink.h (RTMGRP_*), clock_gettime(2).
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

from nconnect.host.notices import Notices

# RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV4_RULE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE;
# RTNLGRP_IPV6_RULE, 19, has no such name.
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18
SETTLE_SECONDS = 0.1
"""A network that is joined or left is a dozen messages within some milliseconds."""

TICK_SECONDS = 1.0
SLEEP_SECONDS = 10.0
"""A tick that is so late was slept through: nodes have given us up by then (their silence time-out)."""


class NetworkEvents(Notices):
    """Calls `on_change` soon after links, addresses or routes of this network namespace have changed."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__(
            socket.NETLINK_ROUTE, GROUPS, on_change, subject="the network", settle=SETTLE_SECONDS
        )


class SleepWatch:
    """Calls `on_wake` after the machine, or this process, has stood still for `SLEEP_SECONDS`."""

    def __init__(self, on_wake: Callable[[], None], clock: Callable[[], float] | None = None) -> None:
        self._on_wake = on_wake
        # Unlike the event loop's clock it goes on while the machine sleeps.
        self._clock = clock or (lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
        self._loop = asyncio.get_running_loop()
        self._last = self._clock()
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def close(self) -> None:
        """Watch no more."""
        self._timer.cancel()

    def _tick(self) -> None:
        now = self._clock()
        slept, self._last = now - self._last - TICK_SECONDS, now
        self._timer = self._loop.call_later(TICK_SECONDS, self._tick)
        if slept >= SLEEP_SECONDS:
            self._on_wake()
