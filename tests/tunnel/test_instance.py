"""The control socket: status and down, one instance a name, for the owner only."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from pathlib import Path

import msgspec
import pytest

from nconnect.errors import AlreadyRunningError, HostError, NotRunningError, UsageError
from nconnect.places import Places
from nconnect.tunnel.asking import ask, check_name, down, running, socket_path, tell_permissions_changed
from nconnect.tunnel.instance import Instance
from nconnect.tunnel.status import SCHEMA, ServeStatus, Status


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "config.toml", tmp_path / "state", tmp_path / "run")


def status() -> Status:
    return ServeStatus(SCHEMA, "x", 1, "serving", "", "address", "nc-x", [], [], 0, [], [], [], {})


async def test_status_and_down(places: Places) -> None:
    left = asyncio.Event()

    async def run() -> None:
        async with Instance(places, "x", status) as instance:
            started.set()
            await instance.stop_requested()
        left.set()

    started = asyncio.Event()
    task = asyncio.create_task(run())
    await started.wait()
    assert running(places) == ["x"]
    answer = msgspec.json.decode(await asyncio.to_thread(ask, places, "x", "status"))
    assert (answer["role"], answer["schema"], answer["state"]) == ("serve", 1, "serving")
    assert b"unknown" in await asyncio.to_thread(ask, places, "x", "dance")
    assert msgspec.json.decode(await asyncio.to_thread(ask, places, "x", "down")) == {"ok": True, "left": []}
    await left.wait()
    await task
    assert running(places) == []
    with pytest.raises(NotRunningError):
        ask(places, "x", "status")


async def test_down_tells_what_was_left(places: Places) -> None:
    async with Instance(places, "x", status) as instance:
        asking = asyncio.create_task(asyncio.to_thread(down, places, "x"))
        await instance.stop_requested()
        instance.left = ["could not undo route 10.0.0.0/8: the kernel says no"]
    assert await asking == ["could not undo route 10.0.0.0/8: the kernel says no"]


async def test_one_instance_a_name(places: Places) -> None:
    async with Instance(places, "x", status):
        with pytest.raises(AlreadyRunningError, match="nconnect down x"):
            await Instance(places, "x", status).__aenter__()
        async with Instance(places, "y", status):
            assert running(places) == ["x", "y"]


async def test_a_crash_leaves_no_lock(places: Places) -> None:
    places.runtime.mkdir()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(socket_path(places, "x")))
    stale.close()
    assert running(places) == []
    async with Instance(places, "x", status):
        assert running(places) == ["x"]


async def test_only_the_owner_may_connect(places: Places) -> None:
    async with Instance(places, "x", status):
        assert stat.S_IMODE(places.runtime.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_path(places, "x").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "line", [b"\n", b"{\n", b"[]\n", b"x" * 10000 + b"\n", b'{"request": 1}\n', b'{"request": "\xff"}\n', b""]
)
async def test_garbage_disturbs_nobody(places: Places, line: bytes) -> None:
    async with Instance(places, "x", status):
        reader, writer = await asyncio.open_unix_connection(socket_path(places, "x"))
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        assert answer in (b"", b'{"error": "unknown request"}\n')
        assert b"serving" in await asyncio.to_thread(ask, places, "x", "status")


async def test_who_connects_and_says_nothing_does_not_hold_up_the_end(places: Places) -> None:
    async with asyncio.timeout(10), Instance(places, "x", status):
        _, writer = await asyncio.open_unix_connection(socket_path(places, "x"))
    writer.close()


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a" * 13, "ü"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        check_name(name)


async def test_permissions_changed(places: Places) -> None:
    """Whoever changed users tells the provider that runs, and it answers once that holds."""
    told = []

    def changed() -> list[str]:
        told.append("x")
        return ["a warning"]

    async with Instance(places, "x", status, changed), Instance(places, "y", status):
        assert await asyncio.to_thread(tell_permissions_changed, places) == {"x": ["a warning"]}
        assert b"unknown" in await asyncio.to_thread(ask, places, "y", "permissions")
    assert told == ["x"]
    assert tell_permissions_changed(places) == {}


async def test_what_runs_in_its_loop_is_counted(places: Places) -> None:
    async with Instance(places, "x", status):
        counts = [json.loads(await asyncio.to_thread(ask, places, "x", "tasks"))["tasks"] for _ in range(3)]
        more = [asyncio.create_task(asyncio.sleep(60)) for _ in range(7)]
        assert json.loads(await asyncio.to_thread(ask, places, "x", "tasks"))["tasks"] == counts[-1] + 7
    for task in more:
        task.cancel()
    assert len(set(counts)) == 1


async def test_permissions_that_cannot_be_looked_at(places: Places) -> None:
    def broken() -> list[str]:
        raise HostError("cannot use users.sqlite: disk I/O error")

    async with Instance(places, "x", status, broken):
        assert await asyncio.to_thread(tell_permissions_changed, places) == {}
        assert b"disk I/O error" in await asyncio.to_thread(ask, places, "x", "permissions")
