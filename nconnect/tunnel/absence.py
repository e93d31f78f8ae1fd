"""Users who are not there: their leases are held for a while, and then ended, one task each.

A lease ends sooner if its user is let in no longer: revoked, expired, used up. `Guests` tells whose grants a
command or the policy file changed; the clock is watched here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Never

from nconnect.errors import HostError, NconnectError
from nconnect.permission.decision import Decision
from nconnect.tunnel.holding import Holding

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between looks at whose time is over."""

Present = Callable[[], Iterable[tuple[bytes, float]]]
"""Who is there: each key, and the seconds since it was heard."""
Decide = Callable[[bytes, float], Decision]
"""What a key gets at a moment (Unix seconds); HostError or ConfigError if that cannot be told now."""
EndLease = Callable[[bytes], Awaitable[None]]
"""Ends the lease of this key; HostError if the kernel hinders that."""


class Absence:
    """Ends leases when their time is over; `run` until cancelled, then `close`."""

    def __init__(
        self,
        holding: Holding,
        present: Present,
        decide: Decide,
        now: Callable[[], float],
        end: EndLease,
        say: Callable[[str], None],
    ) -> None:
        """`now` is the time by which grants end, Unix seconds."""
        self._holding = holding
        self._present = present
        self._decide = decide
        self._now = now
        self._let_in_until: dict[bytes, float] = {}
        """Of those who are not there, when to decide again (Unix seconds); at once of who is not in it."""
        self._end = end
        self._say = say
        self._ending: dict[bytes, asyncio.Task[None]] = {}
        self._failing = ""

    def holds(self, key: bytes) -> bool:
        """Whether this lease is held: its user is there, or was lately."""
        return key in self._holding

    def held(self) -> list[tuple[bytes, float]]:
        """The leases of those who are not there, with the seconds until each ends."""
        present = {key for key, _ in self._present()}
        return [(key, left) for key, left in self._holding if key not in present]

    def come(self, key: bytes) -> None:
        """The user is there, again perhaps: what of the lease is not ended yet goes on."""
        task = self._ending.pop(key, None)
        if task is not None:
            task.cancel()
        self._holding.heard(key)

    def leave(self, key: bytes, silent: float) -> None:
        """The user's link has ended; nothing was heard on it for `silent` seconds."""
        self._holding.heard(key, silent)
        self._let_in_until.pop(key, None)

    def look(self, keys: Collection[bytes] | None) -> None:
        """End the leases of those of these (None: of all) who are not there and are let in no longer."""
        if keys is None:
            self._let_in_until.clear()
            keys = [key for key, _ in self.held()]
        for key in keys:
            self._let_in_until.pop(key, None)
        self._end_what_is_lost([key for key in keys if key in self._holding])

    def _end_what_is_lost(self, keys: Iterable[bytes]) -> None:
        now = self._now()
        for key in keys:
            if now < self._let_in_until.get(key, 0.0):
                continue
            try:
                decision = self._decide(key, now)
            except NconnectError as error:
                # Who looks at those who are there says so; the next tick tries again.
                logger.info("whether %s is let in cannot be told: %s", key.hex(), error)
                continue
            self._let_in_until[key] = math.inf if decision.until is None else decision.until
            if decision.grant is None:
                self.end(key)

    def end(self, key: bytes) -> None:
        """End this lease now, if it is held."""
        if key in self._holding and key not in self._ending:
            self._ending[key] = asyncio.create_task(self._to_the_end(key))

    async def run(self) -> Never:
        """See whose time is over, until cancelled."""
        while True:
            present = set()
            for key, silent in self._present():
                present.add(key)
                self._holding.heard(key, silent)
            for key in self._holding.over():
                if key not in present:
                    self.end(key)
            self._end_what_is_lost([key for key, _ in self._holding if key not in present])
            if self._holding.unsaved:
                self._save()
            await asyncio.sleep(TICK)

    async def _to_the_end(self, key: bytes) -> None:
        try:
            await self._end(key)
        except HostError as error:
            self._say(f"warning: the lease of {key.hex()} is over, but its connections may go on: {error}")
        # Not `finally`: who cancels this has another task for the key, or none.
        del self._ending[key]
        self._holding.release(key)
        self._let_in_until.pop(key, None)

    async def close(self) -> None:
        """Write what the next start has to know."""
        tasks = list(self._ending.values())
        self._ending.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._save()

    def _save(self) -> None:
        try:
            self._holding.save()
            self._failing = ""
        except HostError as error:
            if str(error) != self._failing:
                self._failing = str(error)
                self._say(f"warning: {error}")
