"""JSON-RPC over several seeds, some of which are down, confused or hostile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from nconnect.devnet.certificate import make_certificate
from nconnect.errors import ConfigError, DecodeError, NetworkError, RPCError
from nconnect.nkn import http, rpc, tcp
from nconnect.nkn.rpc import RPCClient

from .waiting import soon, until

NODE = {
    "addr": "10.0.0.1:30002",
    "rpcAddr": "10.0.0.1:30003",
    "pubkey": "ee" * 32,
    "id": "11" * 32,
    "sdp": "",
}


class Seed:
    """An HTTP server that answers every request with ``body``."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = answer("getversion answer")
        self.requests: list[dict[str, Any]] = []
        self.url = ""
        self.gate: asyncio.Event | None = None
        self.heals_after = 0
        """Requests that get ``status``; those after them get 200 (0: none do)."""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        if self.gate is not None:
            await self.gate.wait()
        healed = self.heals_after and len(self.requests) > self.heals_after
        status = 200 if healed else self.status
        return web.Response(status=status, body=self.body, headers={"Location": "http://127.0.0.1:1/"})


def answer(result: object) -> bytes:
    return json.dumps({"id": "1", "jsonrpc": "2.0", "result": result}).encode()


def failure(code: object, message: str = "why") -> bytes:
    return json.dumps({"id": "1", "jsonrpc": "2.0", "error": {"code": code, "message": message}}).encode()


@asynccontextmanager
async def seed_server(seed: Seed, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Where a seed answers."""
    app = web.Application()
    app.router.add_post("/", seed.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host, port = runner.addresses[0][:2]
        yield f"{'https' if tls else 'http'}://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def make_seed() -> AsyncIterator[Callable[[], Awaitable[Seed]]]:
    async with AsyncExitStack() as stack:

        async def make() -> Seed:
            seed = Seed()
            seed.url = await stack.enter_async_context(seed_server(seed))
            return seed

        yield make


@pytest.fixture
async def seed(make_seed: Callable[[], Awaitable[Seed]]) -> Seed:
    return await make_seed()


@pytest.fixture
async def second(make_seed: Callable[[], Awaitable[Seed]]) -> Seed:
    return await make_seed()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_the_node_of_a_client(seed: Seed) -> None:
    seed.body = answer(NODE)
    client = RPCClient([seed.url])
    node = await client.get_ws_addr("alice." + "ab" * 32)
    assert (node.addr, node.rpc_addr) == (NODE["addr"], NODE["rpcAddr"])
    assert (node.public_key.hex(), node.id.hex()) == (NODE["pubkey"], NODE["id"])
    (request,) = seed.requests
    assert request["method"] == "getwsaddr"
    assert request["params"] == {"address": "alice." + "ab" * 32}
    assert request["jsonrpc"] == "2.0"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (302, answer(1)),
        (200, b"not JSON"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b"\xff"),
        (200, b'{"error": {"code": "text"}}'),
        (200, b'{"error": 5}'),
        (200, answer("x" * rpc.MAX_SMALL_ANSWER_SIZE)),
        (200, failure(-45001)),
    ],
)
async def test_a_bad_seed_is_passed_over(seed: Seed, second: Seed, status: int, body: bytes) -> None:
    seed.status, seed.body = status, body
    client = RPCClient([closed_port(), seed.url, second.url])
    assert await client.get_version() == "getversion answer"
    assert await client.get_version() == "getversion answer"
    # The one that answered is asked first the next time.
    assert (len(seed.requests), len(second.requests)) == (1, 2)


async def test_what_may_be_large(seed: Seed) -> None:
    subscribers = {f"{number:064x}": "x" * 100 for number in range(1000)}
    client = RPCClient([seed.url])
    seed.body = answer({"subscribers": subscribers})
    assert await client.call("getsubscribers", {}) == {"subscribers": subscribers}
    seed.body = answer("x" * rpc.MAX_ANSWER_SIZE)
    with pytest.raises(NetworkError, match=f"an answer of more than {rpc.MAX_ANSWER_SIZE} bytes"):
        await client.call("getsubscribers", {})


async def test_an_error_about_the_question_is_final(seed: Seed, second: Seed) -> None:
    seed.body = failure(-42002, "INVALID PARAMS")
    client = RPCClient([seed.url, second.url])
    with pytest.raises(RPCError, match="-42002: INVALID PARAMS") as caught:
        await client.get_version()
    assert caught.value.code == -42002
    assert second.requests == []


async def test_when_no_seed_answers_each_is_named(seed: Seed) -> None:
    seed.status = 503
    down = closed_port()
    client = RPCClient([down, seed.url, "http://name.invalid:30003"], timeout=5)
    with pytest.raises(NetworkError) as caught:
        await client.get_version()
    text = str(caught.value)
    assert f"{down}: connection refused by {down.removeprefix('http://')}" in text
    assert f"{seed.url}: HTTP status 503" in text
    assert "http://name.invalid:30003: the name does not resolve" in text
    assert "\n" not in text


async def test_a_seed_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        client = RPCClient([url], timeout=0.05)
        with pytest.raises(NetworkError, match="no answer in time"):
            await client.get_version()


@pytest.mark.parametrize(
    "url", ["", "seed.nkn.org:30003", "ftp://a", "http://", "http://h:99999", "http://[::1"]
)
def test_a_seed_must_be_a_url(url: str) -> None:
    with pytest.raises(ConfigError, match="not the URL of an NKN node"):
        RPCClient([url])


def test_a_seed_is_needed() -> None:
    with pytest.raises(ConfigError, match="no seeds"):
        RPCClient([])


async def test_the_other_methods(seed: Seed) -> None:
    client = RPCClient([seed.url])
    seed.body = answer({"syncState": "PERSIST_FINISHED"})
    assert (await client.get_node_state())["syncState"] == "PERSIST_FINISHED"
    seed.body = answer(NODE)
    assert (await client.get_wss_addr("alice." + "ab" * 32)).addr == NODE["addr"]
    assert seed.requests[-1]["method"] == "getwssaddr"


@pytest.mark.parametrize("result", [None, 5, "x", [], {}, {"addr": 1}, {"addr": "a:1", "pubkey": "zz"}])
async def test_an_answer_of_the_wrong_kind(seed: Seed, result: object) -> None:
    seed.body = answer(result)
    client = RPCClient([seed.url])
    with pytest.raises(DecodeError):
        await client.get_ws_addr("a")


async def test_an_error_says_why(seed: Seed) -> None:
    error = {"code": -45021, "message": "can not append tx to txpool", "data": "nonce is too low"}
    seed.body = json.dumps({"error": error}).encode()
    client = RPCClient([seed.url])
    with pytest.raises(RPCError, match="-45021: can not append tx to txpool: nonce is too low"):
        await client.get_version()
    error["data"] = "x" * 50_000
    seed.body = json.dumps({"error": error}).encode()
    with pytest.raises(RPCError) as caught:
        await client.get_version()
    assert len(str(caught.value)) < 1000


# --- what is not quite HTTP ---


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "not an answer in HTTP"),
        (b"hello\r\n\r\n", "not an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "not an answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + bytes(1 << 20), "not an answer in HTTP"),
    ],
)
async def test_a_seed_that_does_not_speak_http(said: bytes, reason: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(NetworkError, match=reason):
            await RPCClient([f"http://{host}:{port}"]).get_version()


async def test_a_seed_by_tls(seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_certificate(["127.0.0.1"])
    trust = ssl.create_default_context(cadata=made.certificate)
    async with seed_server(seed, made.server_context()) as url:
        assert url.startswith("https://")
        with pytest.raises(NetworkError, match="CERTIFICATE_VERIFY_FAILED"):
            await RPCClient([url]).get_version()
        monkeypatch.setattr(http, "_trusting_the_system", lambda: trust)
        assert await RPCClient([url]).get_version() == "getversion answer"


# --- several at once, and again ---


async def test_of_several_at_once_the_first_answer_counts(seed: Seed) -> None:
    seed.body = answer("quick")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for concurrency in (2, 0):
            client = RPCClient([url, seed.url], concurrency=concurrency)
            assert await soon(client.get_version()) == "quick"


async def test_no_more_than_so_many_are_asked_at_once(
    make_seed: Callable[[], Awaitable[Seed]],
) -> None:
    seeds = [await make_seed() for _ in range(5)]
    gate = asyncio.Event()
    for seed in seeds:
        seed.gate, seed.status = gate, 503
    client = RPCClient([seed.url for seed in seeds], concurrency=3)
    asking = asyncio.create_task(client.get_version())
    await until(lambda: sum(len(seed.requests) for seed in seeds) == 3)
    seeds[4].status = 200
    gate.set()
    assert await soon(asking) == "getversion answer"
    # The fourth may not have been heard before the fifth answered.
    assert [len(seed.requests) for seed in seeds if seed is not seeds[3]] == [1, 1, 1, 1]


async def test_an_error_that_all_would_answer_ends_the_others(seed: Seed) -> None:
    seed.body = failure(-42002, "INVALID PARAMS")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        client = RPCClient([url, seed.url], concurrency=2)
        with pytest.raises(RPCError, match="INVALID PARAMS"):
            await soon(client.get_version())


async def test_all_are_asked_again(seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "RETRY_MIN", 0.01)
    seed.status, seed.heals_after = 503, 3
    client = RPCClient([seed.url], retries=1)
    with pytest.raises(NetworkError, match="HTTP status 503") as caught:
        await client.get_version()
    assert str(caught.value).count("HTTP status") == 1
    assert len(seed.requests) == 2
    client = RPCClient([seed.url], retries=5)
    assert await client.get_version() == "getversion answer"
    assert len(seed.requests) == 4


async def test_a_call_that_is_cancelled_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        client = RPCClient([url], retries=3)
        before = asyncio.all_tasks()
        asking = asyncio.create_task(client.get_version())
        await until(lambda: len(asyncio.all_tasks() - before) == 2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize("options", [{"concurrency": -1}, {"retries": -1}])
def test_neither_can_be_negative(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="negative"):
        RPCClient(["http://127.0.0.1:1"], **options)


# --- marked sockets ---


async def test_every_socket_carries_the_mark(seed: Seed, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = []
    plain = tcp.marked_socket

    def record(family: int, kind: int, protocol: int, mark: int) -> socket.socket:
        marks.append(mark)
        return plain(family, kind, protocol, 0)

    monkeypatch.setattr(tcp, "marked_socket", record)
    client = RPCClient([seed.url], socket_mark=0x4E4B)
    await client.get_version()
    assert marks == [0x4E4B]
