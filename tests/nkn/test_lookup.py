"""Names of seeds and nodes when the system's resolver fails, hangs, or is well again."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from nconnect.nkn import lookup
from nconnect.nkn.lookup import Lookup

from .waiting import soon

SEED = "seed.example"
FIRST, SECOND = (
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 30003)) for host in ("192.0.2.1", "192.0.2.2")
)
DOWN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class System:
    """The system's resolver: answers what the test sets, or nothing before `gate` opens."""

    def __init__(self) -> None:
        self.answer: list[Any] | OSError = [FIRST]
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        self.asked += 1
        await self.gate.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer


@pytest.fixture
async def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", system.getaddrinfo)
    return system


async def test_the_last_good_addresses_outlive_the_resolver(system: System) -> None:
    names = Lookup()
    assert await names.addresses(SEED, 30003) == [FIRST]
    system.answer = DOWN
    assert await names.addresses(SEED, 30003) == [FIRST]
    system.answer = [SECOND]
    assert await names.addresses(SEED, 30003) == [SECOND]


async def test_a_name_that_never_resolved(system: System) -> None:
    system.answer = DOWN
    with pytest.raises(OSError, match="Temporary failure"):
        await Lookup().addresses(SEED, 30003)


async def test_a_resolver_that_hangs_is_waited_for_once(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Lookup()
    await names.addresses(SEED, 30003)
    monkeypatch.setattr(lookup, "PATIENCE", 0.02)
    system.gate.clear()
    assert await soon(names.addresses(SEED, 30003)) == [FIRST]
    monkeypatch.setattr(lookup, "PATIENCE", 1000.0)
    assert await soon(names.addresses(SEED, 30003)) == [FIRST], "the question under way is late already"
    assert system.asked == 2
    system.answer = [SECOND]
    system.gate.set()
    await asyncio.sleep(0)
    assert await soon(names.addresses(SEED, 30003)) == [SECOND]


async def test_who_gives_up_takes_the_answer_from_nobody(system: System) -> None:
    names = Lookup()
    system.gate.clear()
    one, other = (asyncio.create_task(names.addresses(SEED, 30003)) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    system.gate.set()
    assert await soon(other) == [FIRST]
    assert system.asked == 1


async def test_memory_is_bounded(system: System) -> None:
    names = Lookup()
    for number in range(lookup.MAX_NAMES + 1):
        await names.addresses(f"{number}.example", 30003)
    system.answer = DOWN
    assert await names.addresses("1.example", 30003) == [FIRST]
    with pytest.raises(OSError, match="Temporary failure"):
        await names.addresses("0.example", 30003)


async def test_what_an_earlier_process_knew(system: System) -> None:
    earlier, names = Lookup(), Lookup()
    await earlier.addresses(SEED, 30003)
    names.recall(earlier.known())
    system.answer = DOWN
    assert await names.addresses(SEED, 30003) == [FIRST]
    assert await names.addresses(SEED, 30005) == [(*FIRST[:4], ("192.0.2.1", 30005))]
    system.answer = [SECOND]
    assert await names.addresses(SEED, 30003) == [SECOND], "what holds now counts more"
    assert names.known() == {SEED: (ip_address("192.0.2.2"),)}


async def test_what_was_recalled_is_known_on(system: System) -> None:
    names, known = Lookup(), {"other.example": (ip_address("2001:db8::1"),)}
    names.recall(known)
    await names.addresses("192.0.2.1", 80)
    assert names.known() == known, "an address needs no name"
    system.answer = DOWN
    [(family, *_, address)] = await names.addresses("other.example", 80)
    assert (family, address) == (socket.AF_INET6, ("2001:db8::1", 80, 0, 0))


async def test_of_what_was_recalled_the_oldest_goes(system: System) -> None:
    names, address = Lookup(), (ip_address("192.0.2.1"),)
    names.recall({SEED: address} | {f"{number}.example": address for number in range(lookup.MAX_NAMES)})
    assert SEED not in names.known()
    await names.addresses(SEED, 30003)
    assert (SEED in names.known(), "0.example" in names.known()) == (True, False)


async def test_addresses_need_no_resolver() -> None:
    [(family, _, _, _, address)] = await Lookup().addresses("127.0.0.1", 80)
    assert (family, address) == (socket.AF_INET, ("127.0.0.1", 80))
