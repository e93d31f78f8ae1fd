"""The streaming client shows tokens as they come and times the first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nconnect.demo import llm_client

TOKENS = (" it", " hides", "\nwhat", "", " you say")


async def models(request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "m", "object": "model", "created": 0}]})


async def completions(request: web.Request) -> web.StreamResponse:
    """OpenAI's server-sent events; every token waits for the request to have asked for a stream."""
    asked = await request.json()
    assert asked["stream"] is True
    assert asked["cache_prompt"] is False
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for token in TOKENS:
        chunk = {
            "id": "c",
            "object": "text_completion",
            "model": "m",
            "choices": [{"index": 0, "text": token}],
        }
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


async def silence(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b"data: [DONE]\n\n")
    return response


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    application = web.Application()
    application.router.add_get("/v1/models", models)
    application.router.add_post("/v1/completions", completions)
    application.router.add_get("/silent/models", models)
    application.router.add_post("/silent/completions", silence)
    server = TestServer(application)
    async with server:
        yield server


async def test_it_prints_the_tokens_once_and_reports_the_median(
    server: TestServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    url = str(server.make_url("/v1"))
    arguments = ["--base-url", url, "--runs", "3", "--report", str(report)]
    assert await asyncio.to_thread(llm_client.main, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{llm_client.PROMPT} it hides what you say"
    assert "median of 3" in lines[1]
    written = json.loads(report.read_text())
    assert written["tokens"] == 4
    assert 0 < written["first"] <= written["total"]


async def test_a_model_that_says_nothing_is_a_failure(
    server: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(server.make_url("/silent"))
    assert await asyncio.to_thread(llm_client.main, ["--base-url", url]) == 1
    assert "no token" in capsys.readouterr().err


def test_nobody_there_is_one_line(unused_tcp_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert llm_client.main(["--base-url", f"http://127.0.0.1:{unused_tcp_port}/v1"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
