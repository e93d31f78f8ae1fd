"""Names for addresses: what an application plugs in to give peers names of its own.

Source: nkn-sdk-go ``resolver.go``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nconnect.errors import AddressError

# A name may stand for a name; two that stand for each other would for ever (nkn-sdk-go ResolverDepth).
MAX_DEPTH = 16


class Resolver(Protocol):
    """Turns names into addresses. `ClientConfig.resolvers` are asked in their order."""

    async def resolve(self, name: str) -> str | None:
        """What a name stands for, an address or another name; None if it is none that this resolver knows.

        It is asked for every destination, addresses too, so None should come quickly. An exception ends the
        search and reaches who sends.
        """


async def resolve(name: str, resolvers: Sequence[Resolver]) -> str:
    """What ``name`` stands for in the end: what no resolver knows; AddressError if there is no end."""
    meaning = name
    for _ in range(MAX_DEPTH):
        found = await _first(meaning, resolvers)
        if found is None:
            return meaning
        meaning = found
    raise AddressError(f"{name!r} stands for a name that stands for a name, and so on")


async def _first(name: str, resolvers: Sequence[Resolver]) -> str | None:
    for resolver in resolvers:
        if found := await resolver.resolve(name):
            return found
    return None
