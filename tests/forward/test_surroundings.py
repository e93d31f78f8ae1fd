"""Every mode without a TUN device hears of what happens to the machine, as those with one do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nconnect.config import NetworkSection
from nconnect.errors import HostError
from nconnect.forward import surroundings
from nconnect.forward.socks5 import Target
from nconnect.forward.tunnel import Entry, Exit, TunnelOptions
from nconnect.nkn.multiclient import MultiClient

from .conftest import ANN, PROVIDER, Running, running


class Machine:
    """Stands in for the kernel: who watches it, and which clients were told what."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[], None]] = []
        self.on_wake: list[Callable[[], None]] = []
        self.told: list[tuple[str, str]] = []

    def watch(self, kind: list[Callable[[], None]]) -> Callable[[Callable[[], None]], Any]:
        class Watch:
            def __init__(self, callback: Callable[[], None]) -> None:
                self._callback = callback
                kind.append(callback)

            def close(self) -> None:
                kind.remove(self._callback)

        return Watch

    def tells(self) -> list[tuple[str, str]]:
        """Who hears what when the network changes and the machine wakes, an address and an event each."""
        self.told.clear()
        for callback in (*self.on_change, *self.on_wake):
            callback()
        return sorted(self.told)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(surroundings, "NetworkEvents", machine.watch(machine.on_change))
    monkeypatch.setattr(surroundings, "SleepWatch", machine.watch(machine.on_wake))
    for event in ("on_network_change", "on_wake"):

        def tell(client: MultiClient, event: str = event) -> None:
            machine.told.append((client.address, event))

        monkeypatch.setattr(MultiClient, event, tell)
    return machine


def both_events(*addresses: str) -> list[tuple[str, str]]:
    return sorted((address, event) for address in addresses for event in ("on_network_change", "on_wake"))


async def test_socks_and_its_provider(machine: Machine, provider: Running, socks: Running) -> None:
    addresses = [run.service.status().address for run in (provider, socks)]
    assert machine.tells() == both_events(*addresses)
    await socks.stop()
    assert machine.tells() == both_events(addresses[0])
    await provider.stop()
    assert (machine.on_change, machine.on_wake) == ([], [])


async def test_both_ends_of_a_tunnel(machine: Machine, network: NetworkSection) -> None:
    options = TunnelOptions(Target("127.0.0.1", 0), True, "exit", network)
    exit = Exit(options, ("x",), PROVIDER, lambda line: None)
    entry = Entry(options, "exit." + PROVIDER.public_key.hex(), ANN, lambda line: None)
    async with running(exit, []), running(entry, []):
        address = exit.status().address
        assert machine.tells() == both_events(address, f"udp.{address}", entry.status().address)


async def test_a_sandbox_without_netlink_is_no_obstacle(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, provider: Running, make_socks: Any
) -> None:
    def refuse(callback: Callable[[], None]) -> None:
        raise HostError("cannot listen for changes of the network")

    monkeypatch.setattr(surroundings, "NetworkEvents", refuse)
    async with make_socks() as socks:
        address = socks.service.status().address
        assert (address, "on_wake") in machine.tells()
