"""The demo's server answers as OpenAI's API reference says, the official client included."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import wordllama
from aiohttp.test_utils import TestClient, TestServer

from nconnect.demo import inference
from nconnect.demo.embedder import DIMENSIONS, MODEL, Embedder
from nconnect.demo.inference import Server

Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
async def client(embedder: Embedder) -> AsyncIterator[Client]:
    async with TestClient(TestServer(Server(embedder).application())) as client:
        yield client


async def ask(client: Client, body: Any) -> tuple[int, Any]:
    async with client.post("/v1/embeddings", json=body) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def test_models_are_listed_and_found_by_name(client: Client) -> None:
    listed = await (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"]) == (MODEL, "model")
    assert isinstance(model["created"], int)
    assert await (await client.get(f"/v1/models/{MODEL}")).json() == model


async def test_one_text_gives_one_vector_of_length_one(client: Client) -> None:
    status, answer = await ask(client, {"model": MODEL, "input": "a tunnel"})
    assert status == 200
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    (entry,) = answer["data"]
    assert (entry["object"], entry["index"]) == ("embedding", 0)
    assert len(entry["embedding"]) == 256
    assert sum(number**2 for number in entry["embedding"]) == pytest.approx(1, abs=1e-5)
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


async def test_base64_holds_the_same_numbers_as_little_endian_floats(client: Client) -> None:
    body = {"model": MODEL, "input": ["one", "two"]}
    _, plain = await ask(client, body)
    _, packed = await ask(client, body | {"encoding_format": "base64"})
    for numbers, text in zip(plain["data"], packed["data"], strict=True):
        raw = base64.b64decode(text["embedding"])
        assert struct.unpack("<256f", raw) == pytest.approx(numbers["embedding"])


@pytest.mark.parametrize("dimensions", DIMENSIONS)
async def test_a_shorter_vector_is_the_beginning_of_the_long_one(client: Client, dimensions: int) -> None:
    _, long = await ask(client, {"model": MODEL, "input": "a tunnel"})
    _, short = await ask(client, {"model": MODEL, "input": "a tunnel", "dimensions": dimensions})
    beginning = np.array(long["data"][0]["embedding"][:dimensions])
    assert short["data"][0]["embedding"] == pytest.approx(
        list(beginning / np.linalg.norm(beginning)), abs=1e-5
    )


async def test_tokens_mean_the_same_as_their_text(client: Client, embedder: Embedder) -> None:
    (tokens,) = embedder.tokenize(["a tunnel"])
    _, of_text = await ask(client, {"model": MODEL, "input": "a tunnel"})
    for value in (tokens, [tokens]):
        _, of_tokens = await ask(client, {"model": MODEL, "input": value})
        assert of_tokens["data"] == of_text["data"]


def test_vectors_are_those_of_wordllama(embedder: Embedder) -> None:

    reference = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    texts = ["The cat purrs.", "Packets are forwarded to the next hop."]
    ours = embedder.embed(embedder.tokenize(texts), 256)
    np.testing.assert_allclose(ours, reference.embed(texts, norm=True), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"input": "x"}, 400, "model"),
        ({"model": "gpt-9", "input": "x"}, 404, "model"),
        ({"model": MODEL}, 400, "input"),
        ({"model": MODEL, "input": []}, 400, "input"),
        ({"model": MODEL, "input": ""}, 400, "input"),
        ({"model": MODEL, "input": ["x", 1]}, 400, "input"),
        ({"model": MODEL, "input": [-1]}, 400, "input"),
        ({"model": MODEL, "input": [10**30]}, 400, "input"),
        ({"model": MODEL, "input": [True]}, 400, "input"),
        ({"model": MODEL, "input": {"a": 1}}, 400, "input"),
        ({"model": MODEL, "input": "\ud800"}, 400, "input"),
        ({"model": MODEL, "input": ["x"] * (inference.MAX_INPUTS + 1)}, 400, "input"),
        ({"model": MODEL, "input": [1] * (inference.MAX_INPUT_TOKENS + 1)}, 400, "input"),
        ({"model": MODEL, "input": [[1] * inference.MAX_INPUT_TOKENS] * 37}, 400, "input"),
        ({"model": MODEL, "input": "x", "dimensions": 100}, 400, "dimensions"),
        ({"model": MODEL, "input": "x", "dimensions": 64.0}, 400, "dimensions"),
        ({"model": MODEL, "input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
        ("not an object", 400, None),
    ],
)
async def test_a_wrong_request_is_named(client: Client, body: Any, status: int, param: str | None) -> None:
    got, answer = await ask(client, body)
    assert got == status
    error = answer["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_a_body_that_is_not_json(client: Client, data: bytes) -> None:
    async with client.post("/v1/embeddings", data=data) as response:
        assert response.status == 400
        assert "JSON" in (await response.json())["error"]["message"]


async def test_a_body_that_is_too_large(client: Client) -> None:
    async with client.post("/v1/embeddings", data=b" " * (inference.MAX_BODY_BYTES + 1)) as response:
        assert response.status == 413
        assert str(inference.MAX_BODY_BYTES) in (await response.json())["error"]["message"]


async def test_unknown_paths_and_methods(client: Client) -> None:
    async with client.get("/v1/chat/completions") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "unknown_url"
    async with client.get("/v1/embeddings") as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"


async def test_the_answer_names_both_ends_of_its_connection(client: Client) -> None:
    async with client.get("/v1/models") as response:
        assert response.headers["X-Served-By"] == f"127.0.0.1:{client.port}"
        assert response.headers["X-Asked-By"] == "127.0.0.1"


async def test_the_official_client(client: Client) -> None:
    url = str(client.make_url("/v1"))
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as official:
        answer = await official.embeddings.create(model=MODEL, input=["one", "two"])
        assert [len(entry.embedding) for entry in answer.data] == [256, 256]
        with pytest.raises(openai.NotFoundError, match="gpt-9"):
            await official.embeddings.create(model="gpt-9", input="x")
        with pytest.raises(openai.BadRequestError, match="empty"):
            await official.embeddings.create(model=MODEL, input="")
