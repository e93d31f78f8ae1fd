"""JSON-RPC to NKN nodes over HTTP, over several seeds.

Source: nkn-sdk-go ``rpc.go``; nknd ``api/httpjson``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from nconnect.errors import ConfigError, DecodeError, NetworkError, RPCError
from nconnect.nkn.config import ClientConfig, check_url
from nconnect.nkn.http import endpoint, post
from nconnect.nkn.messages import ErrorCode, NodeInfo
from nconnect.nkn.tcp import connect_failure

logger = logging.getLogger(__name__)

T = TypeVar("T")

# The largest answer is a thousand subscribers, each with 1 KiB of meta data that JSON may write sixfold; more
# is an attack on our memory.
MAX_ANSWER_SIZE = 8 * 1024 * 1024
# JSON of that size may take 200 MiB and a second to parse. These, which every client asks strangers for again
# and again, are answered in some hundred bytes.
SMALL_ANSWERS = frozenset(
    {
        "getbalancebyaddr",
        "getlatestblockhash",
        "getlatestblockheight",
        "getnodestate",
        "getnoncebyaddr",
        "getregistrant",
        "getsubscriberscount",
        "getsubscription",
        "getversion",
        "getwsaddr",
        "getwssaddr",
        "sendrawtransaction",
    }
)
MAX_SMALL_ANSWER_SIZE = 64 * 1024
# Characters of what a seed says about an error; nodes say a line.
MAX_ERROR_TEXT = 500

# Seconds between two rounds of all seeds: doubled from round to round.
RETRY_MIN = 0.5
RETRY_MAX = 8.0


class _Answer(NamedTuple):
    seed: str
    result: Any


class RPCClient:
    """Asks the seeds in turn, beginning with the one that answered last.

    A seed that cannot be reached, talks nonsense or has an internal error is passed over; any other error
    that it answers is final, because the next one would say the same. ``timeout`` (seconds) is for each
    seed; ``concurrency`` seeds are asked at once (0: all) and the first answer counts; when all have failed
    they are asked again, ``retries`` times.
    """

    def __init__(
        self,
        seeds: Sequence[str],
        socket_mark: int = 0,
        *,
        timeout: float = 10.0,
        concurrency: int = 1,
        retries: int = 0,
    ) -> None:
        if not seeds:
            raise ConfigError("no seeds: give the URL of at least one NKN node")
        for seed in seeds:
            check_url(seed)
        if concurrency < 0 or retries < 0:
            raise ConfigError("concurrency and retries of RPC cannot be negative")
        self._seeds = list(dict.fromkeys(seeds))
        self._socket_mark = socket_mark
        self._timeout = timeout
        self._concurrency = concurrency or len(self._seeds)
        self._retries = retries

    @classmethod
    def from_config(cls, config: ClientConfig) -> Self:
        """As a client's configuration asks for it."""
        return cls(
            config.seed_rpc,
            config.socket_mark,
            timeout=config.rpc_timeout,
            concurrency=config.rpc_concurrency,
            retries=config.rpc_retries,
        )

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The result of a call.

        RPCError for an error that a seed answered, NetworkError naming what was wrong with each seed
        otherwise.
        """
        failures: list[str] = []
        delay = RETRY_MIN
        for retry in range(self._retries + 1):
            if retry:
                await asyncio.sleep(delay)
                delay = min(2 * delay, RETRY_MAX)
                failures.clear()
            answer = await self._ask_all(method, params, failures)
            if answer is not None:
                self._seeds.remove(answer.seed)
                self._seeds.insert(0, answer.seed)
                return answer.result
        raise NetworkError(f"no seed answered {method}: {'; '.join(failures)}. Check the network and the URL")

    async def _ask_all(self, method: str, params: dict[str, Any], failures: list[str]) -> _Answer | None:
        """One round: the first answer, or None with what was wrong with each seed in ``failures``."""
        waiting = list(self._seeds)
        tasks: list[asyncio.Task[_Answer | str]] = []
        asked: set[asyncio.Task[_Answer | str]] = set()
        try:
            while waiting or asked:
                while waiting and len(asked) < self._concurrency:
                    tasks.append(asyncio.create_task(self._ask(waiting.pop(0), method, params)))
                    asked.add(tasks[-1])
                done, asked = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    outcome = task.result()
                    if isinstance(outcome, _Answer):
                        return outcome
                    failures.append(outcome)
                    logger.debug("%s failed at %s", method, outcome)
            return None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, seed: str, method: str, params: dict[str, Any]) -> _Answer | str:
        """A seed's answer, or what is wrong with the seed; RPCError for an error that any would answer."""
        try:
            return _Answer(seed, await self._call(seed, method, params))
        except RPCError as error:
            if error.code != -ErrorCode.INTERNAL_ERROR:
                raise
            return f"{seed}: {error.message}"
        except (OSError, TimeoutError, UnicodeError, DecodeError) as error:
            return f"{seed}: {_reason(error, seed)}"

    async def _call(self, seed: str, method: str, params: dict[str, Any]) -> Any:
        request = msgspec.json.encode(
            {"id": "nconnect", "jsonrpc": "2.0", "method": method, "params": params}
        )
        limit = MAX_SMALL_ANSWER_SIZE if method in SMALL_ANSWERS else MAX_ANSWER_SIZE
        async with asyncio.timeout(self._timeout):
            answer = await post(
                seed, request, content_type="application/json", limit=limit, mark=self._socket_mark
            )
        return parse_answer(answer)

    async def get_ws_addr(self, address: str) -> NodeInfo:
        """The node that serves a client address."""
        return NodeInfo.from_json(await self.call("getwsaddr", {"address": address}))

    async def get_wss_addr(self, address: str) -> NodeInfo:
        """The same with the node's address for TLS."""
        return NodeInfo.from_json(await self.call("getwssaddr", {"address": address}))

    async def get_node_state(self) -> dict[str, Any]:
        """The state of the node that is asked.

        Its ``syncState`` is ``PERSIST_FINISHED`` when it is usable.
        """
        return expect(await self.call("getnodestate", {}), dict, "getnodestate")

    async def get_version(self) -> str:
        """The version of the node that is asked."""
        return expect(await self.call("getversion", {}), str, "getversion")


def parse_answer(body: bytes) -> Any:
    """The result in a JSON-RPC answer; RPCError for an error in it, DecodeError if it is no answer."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise DecodeError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise DecodeError("the answer is not a JSON object")
    failure = answer.get("error")
    if failure is not None:
        code = failure.get("code") if isinstance(failure, dict) else None
        if type(code) is not int:
            raise DecodeError("the answer is an error without a code")
        message = f"{failure.get('message', '')}"
        # The message belongs to the code; why it came to that is in the data.
        if isinstance(data := failure.get("data"), str) and data:
            message = f"{message}: {data}"
        raise RPCError(code, message[:MAX_ERROR_TEXT])
    if "result" not in answer:
        raise DecodeError("the answer has no result")
    return answer["result"]


def expect(value: object, kind: type[T], method: str) -> T:
    """A part of an answer, if it is of the right type; DecodeError otherwise."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DecodeError(f"{method} answered {type(value).__name__}, not {kind.__name__}")
    return value


def _reason(error: BaseException, seed: str) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer in time"
    if isinstance(error, UnicodeError):
        return "the name does not resolve"
    if isinstance(error, OSError):
        return connect_failure(error, *endpoint(seed))
    return str(error)
