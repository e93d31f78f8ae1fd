"""The demo's client finds the nearest sentence and says who answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from nconnect.demo import client
from nconnect.demo.embedder import Embedder
from nconnect.demo.inference import Server


def test_nearest_is_by_angle() -> None:
    assert client.nearest([1, 0], [[0, 1], [1, 0], [0.6, 0.8]]) == [(1, 1), (0.6, 2), (0, 0)]


async def test_it_asks_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    async with TestServer(Server(Embedder()).application()) as server:
        arguments = ["--base-url", str(server.make_url("/v1")), "--report", str(report)]
        assert await asyncio.to_thread(client.main, arguments) == 0
    written = json.loads(report.read_text())
    assert written["nearest"] == "The cat purrs on the window sill."
    assert written["peer"] == written["asked_by"] == "127.0.0.1"
    shown = capsys.readouterr().out
    assert "The cat purrs" in shown.splitlines()[1]
    assert "answered by 127.0.0.1" in shown


async def test_an_answer_from_another_address_is_a_failure() -> None:
    async with TestServer(Server(Embedder()).application()) as server:
        url = f"http://localhost:{server.port}/v1"
        assert await asyncio.to_thread(client.main, ["--base-url", url]) == 1


def test_nobody_there_is_one_line(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert client.main(["--base-url", f"http://127.0.0.1:{unused_tcp_port}/v1"]) == 1
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert "refused" in errors
