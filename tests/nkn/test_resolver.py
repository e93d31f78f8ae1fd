from __future__ import annotations

import pytest

from nconnect.errors import AddressError
from nconnect.nkn.resolver import MAX_DEPTH, resolve


class Book:
    """Names in a dictionary."""

    def __init__(self, **names: str) -> None:
        self._names = names
        self.asked: list[str] = []

    async def resolve(self, name: str) -> str | None:
        self.asked.append(name)
        return self._names.get(name)


async def test_the_first_that_knows_a_name_decides() -> None:
    first, second = Book(a="1"), Book(a="2", b="3")
    assert await resolve("a", [first, second]) == "1"
    assert await resolve("b", [first, second]) == "3"
    assert await resolve("c", [first, second]) == "c"
    assert await resolve("c", []) == "c"


async def test_names_may_stand_for_names_of_any_resolver() -> None:
    assert await resolve("a", [Book(a="b", c="d"), Book(b="c")]) == "d"


async def test_but_not_for_ever() -> None:
    book = Book(a="b", b="a")
    with pytest.raises(AddressError, match="'a' stands for a name that stands for"):
        await resolve("a", [book])
    assert len(book.asked) == MAX_DEPTH
