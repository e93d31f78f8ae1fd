"""An OpenAI-compatible embeddings server with a real model, for the lab's LAN.

``python -m nconnect.demo.inference --host 192.168.77.20 --port 11434`` answers ``GET /v1/models``,
``GET /v1/models/<id>`` and ``POST /v1/embeddings`` with the shapes of OpenAI's API reference, errors too
(https://platform.openai.com/docs/api-reference/embeddings).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from nconnect.demo.embedder import DIMENSIONS, MODEL, Embedder, Vectors

# The limits of OpenAI's own endpoint: clients already cut their batches to these.
MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000
# 300,000 tokens of 4 characters, with room for JSON escapes.
MAX_BODY_BYTES = 4 << 20


class APIError(Exception):
    """An answer in OpenAI's error shape: ``{"error": {"message", "type", "param", "code"}}``."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self._status = status
        self._error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}

    def response(self) -> web.StreamResponse:
        """The HTTP answer."""
        return web.json_response({"error": self._error}, status=self._status)


class Server:
    """The HTTP API over one Embedder."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._created = int(time.time())

    def application(self) -> web.Application:
        """The aiohttp application, with errors in OpenAI's shape."""
        application = web.Application(middlewares=[_answer], client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/v1/models", self.models)
        application.router.add_get("/v1/models/{model}", self.model)
        application.router.add_post("/v1/embeddings", self.embeddings)
        return application

    async def models(self, request: web.Request) -> web.Response:
        """``GET /v1/models``"""
        return web.json_response({"object": "list", "data": [self._card()]})

    async def model(self, request: web.Request) -> web.Response:
        """``GET /v1/models/<id>``"""
        _require_model(request.match_info["model"])
        return web.json_response(self._card())

    async def embeddings(self, request: web.Request) -> web.Response:
        """``POST /v1/embeddings``"""
        body = await _json_object(request)
        _require_model(body.get("model"))
        dimensions = body.get("dimensions") or DIMENSIONS[-1]
        if type(dimensions) is not int or dimensions not in DIMENSIONS:
            raise APIError(
                400, f"'dimensions' must be one of {', '.join(map(str, DIMENSIONS))}.", param="dimensions"
            )
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise APIError(400, "'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
        # Up to 300,000 tokens take a moment; meanwhile other requests are accepted.
        inputs = await asyncio.to_thread(self._tokens, body.get("input"))
        vectors = await asyncio.to_thread(self._embedder.embed, inputs, dimensions)
        tokens = sum(map(len, inputs))
        return web.json_response(
            {
                "object": "list",
                "data": [
                    {"object": "embedding", "index": index, "embedding": _encode(vector, encoding)}
                    for index, vector in enumerate(vectors)
                ],
                "model": MODEL,
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def _card(self) -> dict[str, Any]:
        return {"id": MODEL, "object": "model", "created": self._created, "owned_by": "wordllama"}

    def _tokens(self, value: object) -> list[list[int]]:
        """The request's input as token sequences: a text, a token sequence, or a list of either."""
        if isinstance(value, str) or (isinstance(value, list) and value and _is_token(value[0])):
            value = [value]
        if not isinstance(value, list) or not value:
            raise _input_error("'input' must be a string, an array of strings or an array of token arrays.")
        if len(value) > MAX_INPUTS:
            raise _input_error(f"'input' has {len(value)} entries; at most {MAX_INPUTS} are allowed.")
        if all(isinstance(entry, str) for entry in value):
            try:
                # JSON can say "\\ud800"; the tokenizer takes only what UTF-8 can hold.
                "".join(value).encode()
            except UnicodeEncodeError:
                raise _input_error("'input' has half of a surrogate pair, which is no character.") from None
            inputs = self._embedder.tokenize(value)
        elif all(isinstance(entry, list) for entry in value):
            inputs = value
        else:
            raise _input_error("'input' must hold only strings or only token arrays.")
        for index, tokens in enumerate(inputs):
            self._check(index, tokens)
        if sum(map(len, inputs)) > MAX_REQUEST_TOKENS:
            raise _input_error(f"'input' has more than {MAX_REQUEST_TOKENS} tokens; send it in parts.")
        return inputs

    def _check(self, index: int, tokens: Sequence[object]) -> None:
        if not tokens:
            raise _input_error(f"'input[{index}]' is empty.")
        if len(tokens) > MAX_INPUT_TOKENS:
            raise _input_error(
                f"'input[{index}]' has {len(tokens)} tokens; this model takes {MAX_INPUT_TOKENS}."
            )
        for token in tokens:
            if not (isinstance(token, int) and _is_token(token) and 0 <= token < self._embedder.vocabulary):
                raise _input_error(f"'input[{index}]' has a token that this model does not know.")


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every answer names the address that gave it and the one that asked; errors take OpenAI's shape."""
    try:
        response = await handler(request)
    except APIError as error:
        response = error.response()
    except web.HTTPRequestEntityTooLarge:
        response = APIError(413, f"The request is larger than {MAX_BODY_BYTES} bytes.").response()
    except web.HTTPException as refusal:
        message = f"Invalid URL ({request.method} {request.path})"
        response = APIError(refusal.status, message, code="unknown_url").response()
        if "Allow" in refusal.headers:
            response.headers["Allow"] = refusal.headers["Allow"]
    if request.transport is not None:
        host, port = request.transport.get_extra_info("sockname")[:2]
        response.headers["X-Served-By"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        response.headers["X-Asked-By"] = request.transport.get_extra_info("peername")[0]
    return response


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.text())
    except (UnicodeDecodeError, ValueError, RecursionError, LookupError):
        raise APIError(400, "The body of the request is not JSON.") from None
    if not isinstance(body, dict):
        raise APIError(400, "The body of the request is not a JSON object.")
    return body


def _require_model(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise APIError(400, "You must provide a 'model' parameter.", param="model")
    if name != MODEL:
        raise APIError(
            404,
            f"The model '{name}' does not exist; here is '{MODEL}'.",
            param="model",
            code="model_not_found",
        )


def _input_error(message: str) -> APIError:
    return APIError(400, message, param="input")


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _encode(vector: Vectors, encoding: str) -> str | list[float]:
    """A list of numbers, or the base64 of little-endian float32, which OpenAI's own client asks for."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="OpenAI-compatible embeddings with wordllama")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback)")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    web.run_app(
        Server(Embedder()).application(),
        host=options.host,
        port=options.port,
        access_log=None,
        shutdown_timeout=1.0,
        # Called once it listens.
        print=lambda *_: print(f"serving {MODEL} on http://{options.host}:{options.port}/v1", flush=True),
    )


if __name__ == "__main__":
    main()
