"""UDP flows: found again, kept apart, closed when idle or too many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address

import pytest

from nconnect.errors import RefusedError
from nconnect.forward import flows as module
from nconnect.forward.flows import Flows
from nconnect.forward.socks5 import Reply, Target
from nconnect.tunnel.control import IPAddress

from ..nkn.waiting import soon, until
from .program import Datagrams, EchoHost, target


class Recorder:
    """What was resolved and delivered."""

    def __init__(self) -> None:
        self.resolved: list[Target] = []
        self.delivered: asyncio.Queue[tuple[int, Target, bytes]] = asyncio.Queue()
        self.refuses = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, target: Target) -> list[IPAddress]:
        await self.gate.wait()
        self.resolved.append(target)
        if self.refuses:
            raise RefusedError(Reply.NOT_ALLOWED, "no")
        return [ip_address("127.0.0.1")]


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def flows(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Flows]:
    monkeypatch.setattr(module, "SWEEP_INTERVAL", 0.02)
    flows = Flows(recorder.resolve, lambda *answer: recorder.delivered.put_nowait(answer))
    yield flows
    flows.close()
    assert len(flows) == 0


async def test_answers_come_back_by_their_flow(flows: Flows, recorder: Recorder) -> None:
    host = await EchoHost.open()
    where = target("gpu.lan", host.port)
    for number in (1, 2, 1):
        flows.send(number, where, b"question %d" % number)
        answer = await soon(recorder.delivered.get())
        assert answer == (number, target("127.0.0.1", host.port), b"question %d" % number)
    assert len(flows) == 2
    assert recorder.resolved == [where, where]
    assert len({address for _, address in [await host.received.get() for _ in range(3)]}) == 2


async def test_what_is_sent_while_a_name_is_looked_up(flows: Flows, recorder: Recorder) -> None:
    host = await Datagrams.open()
    recorder.gate.clear()
    for number in range(module.MAX_WAITING + 5):
        flows.send(1, target("gpu.lan", host.port), b"%d" % number)
    recorder.gate.set()
    got = [(await soon(host.received.get()))[0] for _ in range(module.MAX_WAITING)]
    assert got == [b"%d" % number for number in range(module.MAX_WAITING)]


async def test_what_is_refused_is_lost_and_tried_again(flows: Flows, recorder: Recorder) -> None:
    host = await EchoHost.open()
    recorder.refuses = True
    flows.send(1, target("127.0.0.1", host.port), b"no")
    await until(lambda: len(flows) == 0)
    recorder.refuses = False
    flows.send(1, target("127.0.0.1", host.port), b"yes")
    assert (await soon(recorder.delivered.get()))[2] == b"yes"


async def test_others_cannot_answer(flows: Flows, recorder: Recorder) -> None:
    host, other = await Datagrams.open(), await Datagrams.open()
    flows.send(1, target("127.0.0.1", host.port), b"question")
    _, address = await soon(host.received.get())
    other.transport.sendto(b"forged", address)
    host.transport.sendto(b"answer", address)
    assert (await soon(recorder.delivered.get()))[2] == b"answer"
    assert recorder.delivered.empty()


async def test_idle_flows_are_closed(
    flows: Flows, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await EchoHost.open()
    flows.send(1, target("127.0.0.1", host.port), b"x")
    await soon(recorder.delivered.get())
    monkeypatch.setattr(module, "FLOW_IDLE", 0.05)
    await until(lambda: len(flows) == 0)


async def test_the_one_idle_longest_makes_room(
    flows: Flows, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FLOWS", 3)
    host = await EchoHost.open()
    where = target("127.0.0.1", host.port)
    for number in (1, 2, 3, 1, 4):
        flows.send(number, where, b"x")
        await soon(recorder.delivered.get())
    assert [number for number, _ in flows._flows] == [3, 1, 4]


async def test_forgotten_flows_are_closed(flows: Flows, recorder: Recorder) -> None:
    host = await EchoHost.open()
    for number in (1, 2):
        flows.send(number, target("127.0.0.1", host.port), b"x")
        await soon(recorder.delivered.get())
    flows.forget(1)
    flows.forget(99)
    assert [number for number, _ in flows._flows] == [2]


async def test_a_port_where_nobody_listens(flows: Flows, recorder: Recorder) -> None:
    for _ in range(3):
        flows.send(1, target("127.0.0.1", 9), b"x")
        await asyncio.sleep(0.01)
    assert len(flows) == 1
