"""Many users of one provider, each a machine of their own: a network namespace with `nconnect up` in it.

::

    u0   198.18.0.1 ┐
    u1   198.18.0.5 ┼── internet: nconnect devnet ──── provider ──── lan
    u2   198.18.0.9 ┘
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nconnect.demo import namespaces
from nconnect.demo.home import make_home
from nconnect.demo.lab import Lab, Party, lab_identifiers
from nconnect.demo.namespaces import NAMESPACES
from nconnect.demo.process import last_lines
from nconnect.demo.steps import START_SECONDS
from nconnect.errors import NconnectError
from nconnect.nkn.keys import KeyPair
from scripts.benchmarks import programs
from scripts.benchmarks.identities import write_identity

# As many start at a time: joining the network takes some round trips, and the machine has a few cores.
STARTS_AT_ONCE = 4
POLL_SECONDS = 0.02
# Reserved for benchmarks (RFC 2544).
NETWORK = (198 << 24) + (18 << 16)

# Commands for `ip -batch`: the link's end at the Internet, and at a user.
FAR_END = """\
link set {link} up
address add {gateway}/30 dev {link}
"""
NEAR_END = """\
link set lo up
link set wan0 up
address add {own}/30 dev wan0
route add default via {gateway}
"""


@dataclass(frozen=True)
class User:
    """One `nconnect up`."""

    name: str
    pid: int
    log: Path

    def output(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text() if self.log.exists() else ""

    def tail(self) -> str:
        """The last lines of the output, indented for an error message."""
        return last_lines(self.output())


class Crowd:
    """Users in a lab, as an async context manager. They are connected one after the other by `grow`."""

    def __init__(self, lab: Lab, size: int) -> None:
        self._lab = lab
        self.keys = [KeyPair.from_seed(number.to_bytes(32)) for number in range(1, size + 1)]
        """Whom the provider has to let in."""
        self.users: list[User] = []
        """Those that are connected."""
        self._starter: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        _remove_stale()
        try:
            for number, key in enumerate(self.keys):
                write_identity(self._make_home(number), key)
            self._make_namespaces()
        except BaseException:
            self._remove()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._starter is not None:
            self._starter.kill()
            await self._starter.wait()
        self._remove()

    def namespace(self, number: int) -> str:
        """The name of a user's namespace."""
        return f"{_prefix(self._lab.identifier)}{number}"

    def namespaces(self) -> list[str]:
        """Those of the users that are connected."""
        return [self.namespace(number) for number in range(len(self.users))]

    async def grow(self, size: int, address: str) -> None:
        """Connect more users to a provider's address, until there are so many."""
        if self._starter is None:
            self._starter = await asyncio.create_subprocess_exec(
                *programs.command("users", address),
                env={**self._lab.environment(Party.USER), **programs.ENVIRONMENT},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        while len(self.users) < size:
            first = len(self.users)
            last = min(size, first + STARTS_AT_ONCE)
            self.users += [await self._start(self._starter, number) for number in range(first, last)]
            for user in self.users[first:]:
                await _connected(user)

    async def _start(self, starter: asyncio.subprocess.Process, number: int) -> User:
        assert starter.stdin is not None and starter.stdout is not None
        starter.stdin.write(f"{self.namespace(number)} {self._home(number)}\n".encode())
        async with asyncio.timeout(START_SECONDS):
            answer = await starter.stdout.readline()
        if not answer:
            raise NconnectError(f"what starts the users ended with exit code {await starter.wait()}")
        return User(f"`up` of user {number}", int(answer), self._home(number) / "up.log")

    def _home(self, number: int) -> Path:
        return self._lab.directory / f"user{number}"

    def _make_home(self, number: int) -> Path:
        home = self._home(number)
        make_home(home)
        return home

    def _make_namespaces(self) -> None:
        internet = self._lab.namespace(Party.INTERNET)
        names = [self.namespace(number) for number in range(len(self.keys))]
        namespaces.ip("".join(f"netns add {name}\n" for name in names))
        for number, name in enumerate(names):
            far = f"crowd{number}"
            gateway, own = _address(4 * number + 1), _address(4 * number + 2)
            namespaces.ip(f"link add wan0 netns {name} type veth peer name {far} netns {internet}\n")
            namespaces.ip(FAR_END.format(link=far, gateway=gateway), internet)
            namespaces.ip(NEAR_END.format(own=own, gateway=gateway), name)

    def _remove(self) -> None:
        _remove_namespaces(_prefix(self._lab.identifier))


async def _connected(user: User) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "connected to " not in user.output():
        if time.monotonic() > deadline:
            raise NconnectError(f"{user.name} was not connected after {START_SECONDS:g} s:\n{user.tail()}")
        await asyncio.sleep(POLL_SECONDS)


def _prefix(identifier: str) -> str:
    return f"nc-{identifier}-crowd"


def _address(offset: int) -> str:
    number = NETWORK + offset
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def _remove_stale() -> None:
    """Remove what was left by a benchmark that was killed: its lab has gone, too."""
    labs = set(lab_identifiers())
    for path in NAMESPACES.glob(f"{_prefix('*')}*"):
        if (identifier := path.name.split("-")[1]) not in labs:
            _remove_namespaces(_prefix(identifier))


def _remove_namespaces(prefix: str) -> None:
    namespaces.remove([path.name for path in NAMESPACES.glob(f"{prefix}*")])
