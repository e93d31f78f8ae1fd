"""The JSON-RPC server that clients ask for their node.

Source: nknd ``api/httpjson/RPCserver.go`` and ``api/common/interfaces.go``: the shape of answers and errors,
the words of ``data``. The methods about names, topics and tokens are in `nconnect.devnet.ledger_rpc`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from aiohttp import web

from nconnect import __version__
from nconnect.devnet.chain import Chain
from nconnect.devnet.ledger import Ledger
from nconnect.devnet.ledger_rpc import LedgerMethods
from nconnect.devnet.rpc_params import Failure, Params, fail, string
from nconnect.errors import AddressError
from nconnect.nkn.addresses import Address
from nconnect.nkn.messages import ErrorCode, NodeInfo

# The largest is sendrawtransaction: a subscription with all that it may hold is 3 KiB, twice that in hex.
MAX_REQUEST_SIZE = 64 * 1024

# nknd api/common/errcode: a body that is not JSON. Only here; the websockets answer ILLEGAL_DATA_FORMAT.
INVALID_JSON = 42004

# nknd sends the request's id back if it is a string, and this otherwise.
DEFAULT_ID = "1"


class Network(Protocol):
    """What the RPC server needs of the devnet."""

    chain: Chain
    ledger: Ledger

    @property
    def has_tls(self) -> bool:
        """Whether nodes serve TLS too."""

    def responsible(self, address: str) -> int | None:
        """The index of the node that serves a client."""

    def node_info(self, index: int, reached_host: str, *, tls: bool = False) -> NodeInfo:
        """A node as it is made known to a client that reached ``reached_host``."""


class RPCServer:
    """Serves on one address; `start` and `close`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._runner: web.AppRunner | None = None
        self._ledger_methods = LedgerMethods(network.ledger, network.chain).methods
        self._methods: dict[str, Callable[[Params, str], object]] = {
            "getwsaddr": self._get_ws_addr,
            "getwssaddr": self._get_wss_addr,
            "getnodestate": self._get_node_state,
            "getversion": lambda params, host: __version__,
            "getlatestblockheight": lambda params, host: network.chain.height,
            "getlatestblockhash": self._get_latest_block_hash,
        }

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port; OSError if that is not possible."""
        app = web.Application(client_max_size=MAX_REQUEST_SIZE)
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.transport is not None
        reached_host = request.transport.get_extra_info("sockname")[0]
        answer = self.answer(body, reached_host)
        return web.Response(body=msgspec.json.encode(answer), content_type="application/json")

    def answer(self, body: bytes, reached_host: str) -> dict[str, object]:
        """The JSON-RPC answer to a request body."""
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": DEFAULT_ID}
        try:
            request = _decode(body)
            if isinstance(request.get("id"), str):
                answer["id"] = request["id"]
            method = request.get("method")
            if not isinstance(method, str):
                raise fail(ErrorCode.INVALID_METHOD)
            params = request.get("params")
            if params is None:
                params = {}
            if not isinstance(params, dict):
                raise fail(ErrorCode.INVALID_PARAMS)
            answer["result"] = self._call(method, params, reached_host)
        except Failure as failure:
            error: dict[str, object] = {"code": -failure.code, "message": failure.message}
            if failure.data is not None:
                error["data"] = failure.data
            answer["error"] = error
        return answer

    # --- methods ---

    def _call(self, method: str, params: Params, reached_host: str) -> object:
        if method in self._methods:
            return self._methods[method](params, reached_host)
        if method in self._ledger_methods:
            return self._ledger_methods[method](params)
        raise fail(ErrorCode.INVALID_METHOD)

    def _get_ws_addr(self, params: Params, reached_host: str) -> object:
        return self._network.node_info(self._responsible(params), reached_host).to_json()

    def _get_wss_addr(self, params: Params, reached_host: str) -> object:
        index = self._responsible(params)
        if not self._network.has_tls:
            raise fail(ErrorCode.INTERNAL_ERROR, "predecessor node doesn't support WSS protocol")
        return self._network.node_info(index, reached_host, tls=True).to_json()

    def _responsible(self, params: Params) -> int:
        address = string(params, "address", ErrorCode.INTERNAL_ERROR)
        try:
            Address.parse(address)
        except AddressError as error:
            raise fail(ErrorCode.INTERNAL_ERROR, str(error)) from error
        index = self._network.responsible(address)
        if index is None:
            raise fail(ErrorCode.INTERNAL_ERROR, "Found no predecessors")
        return index

    def _get_node_state(self, params: Params, reached_host: str) -> object:
        return {
            "syncState": "PERSIST_FINISHED",
            "height": self._network.chain.height,
            "version": __version__,
        }

    def _get_latest_block_hash(self, params: Params, reached_host: str) -> object:
        chain = self._network.chain
        return {"height": chain.height, "hash": chain.block_hash.hex()}


def _decode(body: bytes) -> dict[str, Any]:
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise Failure(INVALID_JSON, "INVALID JSON")
    return request
