"""`nconnect allow` and `revoke` as a person runs them, at a gateway with thousands of connected users.

The commands, the control socket, the store, what holds users to their grants, and the kernel's table are the
real ones; only the users' links are not: nobody sends a packet.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from nconnect.host.state import HostManager
from nconnect.host.user_rules import UserRules
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant, format_target
from nconnect.places import Places
from nconnect.tunnel.guests import Guests
from nconnect.tunnel.instance import Instance
from nconnect.tunnel.link import Link
from nconnect.tunnel.status import SCHEMA, ServeStatus

NAME = "bench"


class Nobody:
    """A user's link, over which nothing goes."""

    bytes_in = bytes_out = 0

    def __init__(self, key: bytes) -> None:
        self.remote_public_key = key

    def send(self, message: object) -> None:
        pass

    async def close(self, reason: str) -> None:
        pass


class Gateway:
    """Holds users, whose rules are in the kernel already, to what the store says."""

    def __init__(self, manager: HostManager, users: Sequence[UserRules], directory: Path) -> None:
        self._manager = manager
        self._rules = {number.to_bytes(32): rules for number, rules in enumerate(users, 1)}
        self.places = Places(directory / "config.toml", directory / "state", directory / "run")
        self._authority = Authority.open(self.places)
        with self._authority.store.transaction():
            for key, rules in self._rules.items():
                self._authority.store.allow(key, "", Grant(rules.targets))
        self._guests = Guests(self._authority, lambda line: None, self._apply)
        for key in self._rules:
            self._enter(key)
        self._guests.look()

    def _enter(self, key: bytes) -> None:
        decision = self._authority.decide(key, time.time())
        self._guests.enter(cast(Link, Nobody(key)), "", decision)

    def _apply(self, grants: Mapping[bytes, Grant | None]) -> None:
        rules = {key: self._rules[key] for key in grants}
        self._manager.change_users(
            [replace(rules[key], targets=grant.targets) for key, grant in grants.items() if grant],
            [rules[key].addresses[0] for key, grant in grants.items() if not grant],
        )

    def _status(self) -> ServeStatus:
        return ServeStatus(SCHEMA, NAME, os.getpid(), "serving", "", "", "", [], [], 0, [], [], [], {})

    async def commands(self, rounds: int) -> dict[str, list[float]]:
        """Milliseconds from a command's start to its end, by when it holds in the kernel."""
        key, rules = next(iter(self._rules.items()))
        targets = [word for one in rules.targets for word in ("--to", format_target(one))]
        taken: dict[str, list[float]] = {"allow": [], "allow, another grant": [], "revoke": []}
        guard = asyncio.create_task(self._guests.run())
        async with Instance(self.places, NAME, self._status, self._guests.look):
            for _ in range(rounds):
                taken["allow, another grant"].append(await self._run("allow", key.hex(), *targets[:2]))
                taken["revoke"].append(await self._run("revoke", key.hex()))
                taken["allow"].append(await self._run("allow", key.hex(), *targets))
                self._enter(key)
                self._apply({key: Grant(rules.targets)})
        guard.cancel()
        await asyncio.gather(guard, return_exceptions=True)
        await self._guests.close()
        self._authority.close()
        return taken

    async def _run(self, *words: str) -> float:
        start = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "nconnect",
            *words,
            stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self.places.environment()},
        )
        assert await process.wait() == 0
        return (time.perf_counter() - start) * 1e3
