"""The answer of a seed to any JSON-RPC call that the SDK makes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from nconnect.errors import DecodeError, RPCError
from nconnect.nkn.chain import Chain
from nconnect.nkn.rpc import RPCClient, parse_answer

from .vectors import ALICE

ERRORS = (DecodeError, RPCError)
KEY = ALICE.public_key.hex()
WALLET = ALICE.wallet_address


class Seed(RPCClient):
    """Answers every call with the same bytes."""

    def __init__(self, body: bytes) -> None:
        super().__init__(["http://127.0.0.1:1"])
        self._body = body

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        return parse_answer(self._body)


QUESTIONS: tuple[Callable[[Seed], Coroutine[Any, Any, object]], ...] = (
    lambda seed: seed.get_ws_addr(KEY),
    lambda seed: seed.get_node_state(),
    lambda seed: seed.get_version(),
    lambda seed: Chain(seed).height(),
    lambda seed: Chain(seed).latest_block(),
    lambda seed: Chain(seed).balance(WALLET),
    lambda seed: Chain(seed).nonce(WALLET),
    lambda seed: Chain(seed).registrant("name"),
    lambda seed: Chain(seed).subscription("topic", KEY),
    lambda seed: Chain(seed).subscribers("topic"),
    lambda seed: Chain(seed).subscribers_count("topic"),
)


def seeds() -> list[bytes]:
    results = [
        {"addr": "127.0.0.1:30002", "rpcAddr": "127.0.0.1:30003", "pubkey": KEY, "id": KEY, "sdp": ""},
        {"syncState": "PERSIST_FINISHED"},
        "2.2.0",
        4711,
        {"height": 4711, "hash": "11" * 32},
        {"amount": "999.00000001"},
        {"nonce": 3, "nonceInTxPool": 4},
        {"registrant": KEY, "expiresAt": 9000},
        {"meta": "hello", "expiresAt": 9000},
        {"subscribers": {KEY: "meta"}, "subscribersInTxPool": [f"a.{KEY}"]},
        {"subscribers": [KEY], "subscribersInTxPool": None},
    ]
    answers: list[dict[str, Any]] = [{"id": "1", "jsonrpc": "2.0", "result": result} for result in results]
    answers.append({"id": "1", "error": {"code": -45021, "message": "INTERNAL ERROR", "data": "duplicate"}})
    return [json.dumps(answer).encode() for answer in answers]


def run(data: bytes) -> None:
    for question in QUESTIONS:
        with contextlib.suppress(*ERRORS):
            finish(question(Seed(data)))
    parse_answer(data)


def finish(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")
