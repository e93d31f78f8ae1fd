"""The users who are connected, held to what they are granted at each moment.

Admission asks once; this asks again whenever the answer may be another: grants were changed by a command, the
policy file was read again, a grant expires, a quota is used up. What then happens to packets or connections
is the provider's own (`apply`); that the user is told and hung up on is done here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Never

from nconnect.errors import ConfigError, NconnectError
from nconnect.permission.authority import Authority
from nconnect.permission.decision import Decision
from nconnect.permission.grants import Grant
from nconnect.permission.store import clock_is_behind
from nconnect.tunnel import control
from nconnect.tunnel.link import Link

logger = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between looks at clocks, counters and the store: so late is an end at most that nobody told us of.
It costs some microseconds a user."""
SAVE_INTERVAL = 10.0
"""Seconds between writes of what was used: so much traffic a crash makes free."""

LATELY = 5.0
"""Seconds for which a change by a command is remembered: it may be seen before the command asks."""

DECISIONS_A_TURN = 20
"""In one turn of the event loop: a millisecond or two, with an audit line each."""

Apply = Callable[[Mapping[bytes, Grant | None]], None]
"""Makes each of these users have this grant from now on, None: nothing, all in one change."""


@dataclass
class _Guest:
    link: Link
    name: str
    decision: Decision
    counted: int = 0
    """Of the link's bytes, those that were counted."""
    counted_before: int = 0
    """Of these, the ones that the decision knows of."""

    @property
    def used(self) -> int:
        """Bytes that count towards the quota."""
        return self.decision.used + self.counted - self.counted_before

    def is_over(self, now: float) -> bool:
        """Whether time or traffic has overtaken the decision."""
        if self.decision.until is not None and now >= self.decision.until:
            return True
        quota = self.decision.grant.quota if self.decision.grant is not None else 0
        return 0 < quota <= self.used


class Guests:
    """Who is connected; `run` until cancelled."""

    def __init__(self, authority: Authority, say: Callable[[str], None], apply: Apply) -> None:
        self._authority = authority
        self._say = say
        self._apply = apply
        self._guests: dict[bytes, _Guest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._due: set[bytes] = set()
        """Whom to decide of again: their grants may have changed."""
        self._lately: dict[bytes, float] = {}
        """Whose grants a command changed, and when that was seen."""
        self._saved = time.monotonic()
        self._failing = ""
        self._unsaved = False
        self.on_others: Callable[[Collection[bytes] | None], None] = lambda keys: None
        """Hears who is not connected and may have another grant now; None: anybody."""
        self._is_behind = False

    def enter(self, link: Link, name: str, decision: Decision) -> None:
        """A user was welcomed by `decision`, which may be of some seconds ago."""
        key = link.remote_public_key
        self._count([key])  # the link that this one replaces
        self._guests[key] = _Guest(link, name, decision)
        self._look([key])

    def leave(self, link: Link) -> None:
        """The user's link has ended."""
        guest = self._guests.get(link.remote_public_key)
        if guest is not None and guest.link is link:
            self._count([link.remote_public_key])
            del self._guests[link.remote_public_key]
            self._save()

    def look(self) -> None:
        """Decide again for everybody whose grant was changed by a command, or who is due for another reason.

        Raises:
            HostError: the store cannot be read; it is tried again at the next look.
            ConfigError: what it says of somebody is damaged; the others were decided about.
        """
        changed = self._authority.store.changes()
        self._due |= self._guests.keys() if changed is None else changed
        self.on_others(None if changed is None else changed - self._guests.keys())
        self._due &= self._guests.keys()
        self._look(list(self._due))
        seen = time.monotonic()
        self._lately |= dict.fromkeys(changed or (), seen)
        self._lately = {key: when for key, when in self._lately.items() if seen - when < LATELY}

    def let_in_all_the_same(self) -> list[str]:
        """A line for each who was revoked by a command lately, and whom something else lets in."""
        now, lines = self._authority.now(), []
        for key in self._lately:
            stored = self._authority.store.find(key)
            if stored is not None and stored.revoked:
                decision = self._authority.decide(key, now)
                if decision.grant is not None:
                    how = f"{decision.by or decision.source}, as it was read last"
                    lines.append(f"{key.hex()} is still let in by {how}")
        return lines

    def reload(self) -> asyncio.Task[None]:
        """Read the policy file again, beside the packets; if it is wrong, what it said before stays."""
        return self._start(self._reload())

    async def _reload(self) -> None:
        async with self._reloading:
            before = self._authority.policy
            try:
                after = await asyncio.to_thread(self._authority.read_policy)
            except ConfigError as error:
                self._say(f"warning: the policy stays as it was: {error}")
                return
            changed = [
                key
                for key in before.users.keys() | after.users.keys()
                if before.grants(key) != after.grants(key)
            ]
            let_in = {key async for key, decision in self._decisions(changed) if decision.grant is not None}
            self._authority.policy = after
            self._due |= self._guests.keys()
            self.on_others(set(changed) - self._guests.keys())
            try:
                self.look()
            except NconnectError as error:
                self._fail(str(error))
            # Most of them are not connected, and nothing else would tell the audit.
            async for key, decision in self._decisions(changed):
                if (decision.grant is not None) != (key in let_in):
                    event = "revoked" if key in let_in else "allowed"
                    name = (after.users.get(key) or before.users[key]).name
                    self._authority.on_event(event, key, name=name, decision=decision)

    async def _decisions(self, keys: Iterable[bytes]) -> AsyncIterator[tuple[bytes, Decision]]:
        """What each of these gets now; a policy may name thousands, and packets wait for none."""
        for number, key in enumerate(keys, 1):
            try:
                yield key, self._authority.decide(key, self._authority.now())
            except NconnectError as error:
                self._fail(str(error))
            if number % DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> Never:
        """Hold everybody to their grants, until cancelled."""
        while True:
            try:
                self._tick()
            except NconnectError as error:
                self._fail(str(error))
            else:
                if not self._unsaved:
                    self._failing = ""
            await asyncio.sleep(TICK)

    async def close(self) -> None:
        """Count what is not counted yet, and wait until everybody who was cut off is told."""
        self._count(self._guests)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tick(self) -> None:
        self._count(self._guests)
        now = self._authority.now()
        self._check_clock(now)
        over = {key for key, guest in self._guests.items() if guest.is_over(now)}
        self._due |= over
        try:
            self.look()
        except NconnectError:
            self._end(over & self._guests.keys(), now)
            raise
        if time.monotonic() - self._saved >= SAVE_INTERVAL:
            self._save()

    def _check_clock(self, now: float) -> None:
        """Say so, once, if the clock was set back."""
        warning = clock_is_behind(now)
        if warning and not self._is_behind:
            self._say(f"warning: {warning}")
        self._is_behind = bool(warning)

    def _save(self) -> None:
        self._saved = time.monotonic()
        try:
            self._authority.save_usage()
            self._unsaved = False
        except NconnectError as error:
            self._unsaved = True
            self._fail(str(error))

    def _count(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            guest = self._guests.get(key)
            if guest is not None and (total := guest.link.bytes_in + guest.link.bytes_out) != guest.counted:
                self._authority.count_usage(key, total - guest.counted)
                guest.counted = total

    def _look(self, keys: list[bytes]) -> None:
        self._count(keys)  # what was used until now was used of the grants until now
        now, decisions, problem = self._authority.now(), dict[bytes, Decision](), None
        for key in keys:
            try:
                decisions[key] = self._authority.decide(key, now)
            except ConfigError as error:
                problem = error  # what is damaged is this one's, and hinders nobody from being cut off
        self._hold(decisions)
        self._due -= decisions.keys()
        if problem is not None:
            raise problem

    def _end(self, keys: Iterable[bytes], now: float) -> None:
        """Hold users whose time or quota is over to that, without the store."""
        authority, guests = self._authority, self._guests
        self._hold(
            {
                key: authority.decide_by_what_is_known(key, guests[key].decision, guests[key].used, now)
                for key in keys
            }
        )

    def _hold(self, decisions: Mapping[bytes, Decision]) -> None:
        """Make these users have what was decided just now."""
        changed = {
            key: decision.grant
            for key, decision in decisions.items()
            if decision.grant != self._guests[key].decision.grant
        }
        if changed:
            try:
                self._apply(changed)
            except NconnectError as error:
                # What cannot be narrowed is ended: nobody keeps what was taken from them.
                self._fail(str(error))
                self._cut_all(changed, control.RefusalCode.BUSY, "it cannot change what you may reach")
        for key, decision in decisions.items():
            guest = self._guests.get(key)
            if guest is None:
                continue
            guest.decision, guest.counted_before = decision, guest.counted
            if decision.grant is None:
                self._cut(key, guest, decision.code, decision.reason)
            elif key in changed:
                self._say(f"{guest.name or 'a user'} has another grant now: {key.hex()}")
                self._authority.on_event("changed", key, name=guest.name, grant=decision.grant)

    def _cut_all(self, keys: Mapping[bytes, object], code: int, reason: str) -> None:
        for key in keys:
            self._cut(key, self._guests[key], code, reason)

    def _cut(self, key: bytes, guest: _Guest, code: int, reason: str) -> None:
        self._say(f"{guest.name or 'a user'} is cut off: {key.hex()}: {reason}")
        self._authority.on_event("cut", key, name=guest.name, code=code, reason=reason)
        del self._guests[key]
        self._save()  # so that a new grant does not begin with what the last one used
        self._start(refuse(guest.link, code, reason))

    def _fail(self, reason: str) -> None:
        if reason != self._failing:
            self._failing = reason
            self._say(f"warning: {reason}")


async def refuse(link: Link, code: int, reason: str) -> None:
    """Tell a user why they are not let in, or no longer, and end the link."""
    link.send(control.Refused(code, reason))
    await link.close(reason)
