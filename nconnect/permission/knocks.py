"""Who asked to be let in and was not: shown to the provider, never trusted, never without bound."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

MAX_KNOCKS = 256
"""Unknown keys that are remembered; the oldest is forgotten. Keys cost an attacker nothing, memory us."""
KNOCK_REPEAT_INTERVAL = 600.0
"""Seconds before the same key's knock is worth another line."""
KNOCKS_TOLD_A_MINUTE = 10
"""More than people who wait for each other need; each stranger with a new key costs a line in the log."""


@dataclass
class Knock:
    """A key that asked to be let in."""

    key: bytes
    name: str
    """What it calls itself."""
    first: float
    told: float
    """When the provider was last told."""
    last: float
    count: int = 1


class Knocks:
    """The latest knocks. Times are the loop's, in seconds."""

    def __init__(self) -> None:
        self._knocks: OrderedDict[bytes, Knock] = OrderedDict()
        self._told: deque[float] = deque(maxlen=KNOCKS_TOLD_A_MINUTE)
        """When the last lines were worth telling."""

    def __iter__(self) -> Iterator[Knock]:
        """The latest comes last."""
        return iter(list(self._knocks.values()))

    def __len__(self) -> int:
        return len(self._knocks)

    def knock(self, key: bytes, name: str, now: float) -> bool:
        """Remember that a key asked; True if the provider should be told (not told of late)."""
        knock = self._knocks.pop(key, None)
        if knock is None:
            self._knocks[key] = Knock(key, name, now, now, now)
            while len(self._knocks) > MAX_KNOCKS:
                self._knocks.popitem(last=False)
            return self._may_tell(now)
        self._knocks[key] = knock
        knock.name, knock.last, knock.count = name, now, knock.count + 1
        if now - knock.told < KNOCK_REPEAT_INTERVAL or not self._may_tell(now):
            return False
        knock.told = now
        return True

    def forget(self, key: bytes) -> None:
        """The key was let in."""
        self._knocks.pop(key, None)

    def _may_tell(self, now: float) -> bool:
        if len(self._told) == KNOCKS_TOLD_A_MINUTE and now - self._told[0] < 60.0:
            return False
        self._told.append(now)
        return True
