"""The benchmark's programs, on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable

import pytest

from nconnect.devnet import Devnet, DevnetConfig
from scripts.benchmarks.programs import echo, http, stream, streams

SECONDS = 10.0


def receiving(
    receive: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> tuple[threading.Thread, int]:
    """A receiver in a thread, and its port, once it listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    thread = threading.Thread(target=receive, args=(port,), daemon=True)
    thread.start()
    deadline = time.monotonic() + SECONDS
    while "listening" not in capsys.readouterr().out:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return thread, port


async def test_http_requests_are_counted() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(http.Server, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(SECONDS):
            assert await http.ask("127.0.0.1", port, 0.1) > 0


async def test_a_message_comes_back_through_the_relay() -> None:
    async with Devnet(DevnetConfig(listen="127.0.0.1:0")) as devnet, asyncio.timeout(SECONDS):
        answering = asyncio.create_task(echo.answer(devnet.rpc_url))
        while not any(node.clients for node in devnet.nodes):  # noqa: ASYNC110  it is another's event
            await asyncio.sleep(0.01)
        assert 0 < await echo.ask(devnet.rpc_url, 3) < 1000
        answering.cancel()


def test_the_longest_stall_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "START_SECONDS", 0.0)
    thread, port = receiving(stream.receive, capsys)
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for pause in (0.01, 0.01, 0.2, 0.01):
            sender.sendall(bytes(10))
            time.sleep(pause)
    thread.join(SECONDS)
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"] == 40
    assert 0.19 < result["longest_stall"] < 5


def test_bytes_of_each_stream_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WARM_UP_SECONDS", 0.1)
    thread, port = receiving(lambda port: streams.receive(port, 2, 0.4), capsys)
    with (
        socket.create_connection(("127.0.0.1", port)) as first,
        socket.create_connection(("127.0.0.1", port)),
    ):
        while thread.is_alive():
            try:
                first.sendall(bytes(1000))
            except OSError:
                break
    thread.join(SECONDS)
    result = json.loads(capsys.readouterr().out)
    assert result["bytes"][0] > 0
    assert result["bytes"][1] == 0
    assert result["total"] >= result["bytes"][0]
    assert result["seconds"] >= 0.4
