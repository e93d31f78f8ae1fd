from __future__ import annotations

import json
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.devnet import Devnet, DevnetConfig
from nconnect.devnet.chain import Chain
from nconnect.devnet.ledger import Ledger
from nconnect.devnet.ledger_rpc import LedgerMethods
from nconnect.devnet.rpc import RPCServer
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.transactions import Transaction

from .conftest import MakeDevnet
from .transacting import ALICE, BOB, signed, transfer

ADDRESS = "alice." + KeyPair.from_seed(bytes(32)).public_key.hex()


@pytest.fixture
async def devnet(make_devnet: MakeDevnet) -> Devnet:
    return await make_devnet(seed=5)


async def post(devnet: Devnet, body: object) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        kind = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with session.post(devnet.rpc_url, **kind) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer


async def call(devnet: Devnet, method: str, **params: object) -> Any:
    answer = await post(devnet, {"id": "7", "jsonrpc": "2.0", "method": method, "params": params})
    assert (answer["id"], answer["jsonrpc"]) == ("7", "2.0")
    return answer.get("result", answer.get("error"))


async def test_getwsaddr_names_the_responsible_node(devnet: Devnet) -> None:
    index = devnet.responsible(ADDRESS)
    assert index is not None
    node = devnet.nodes[index]
    assert await call(devnet, "getwsaddr", address=ADDRESS) == {
        "addr": f"127.0.0.1:{node.port}",
        "rpcAddr": devnet.rpc_url.removeprefix("http://"),
        "pubkey": node.key.public_key.hex(),
        "id": node.id.hex(),
        "sdp": "",
    }


async def test_there_is_no_tls(devnet: Devnet) -> None:
    error = await call(devnet, "getwssaddr", address=ADDRESS)
    assert error == {
        "code": -45001,
        "message": "INTERNAL ERROR",
        "data": "predecessor node doesn't support WSS protocol",
    }


async def test_state_and_blocks(devnet: Devnet) -> None:
    assert (await call(devnet, "getnodestate"))["syncState"] == "PERSIST_FINISHED"
    height = await call(devnet, "getlatestblockheight")
    latest = await call(devnet, "getlatestblockhash")
    assert latest["height"] == height == devnet.chain.height
    assert bytes.fromhex(latest["hash"]) == devnet.chain.block_hash
    assert isinstance(await call(devnet, "getversion"), str)


async def test_the_ledger_answers_too(devnet: Devnet) -> None:
    assert await call(devnet, "getregistrant", name="x") == {"registrant": "", "expiresAt": 0}
    assert await call(devnet, "getbalancebyaddr", address=ALICE.wallet_address) == {"amount": "1000"}
    error = await call(devnet, "sendrawtransaction", tx=signed(ALICE, transfer(ALICE, BOB, 5), 1).hex())
    assert error == {
        "code": -45021,
        "message": "INTERNAL ERROR, can not append tx to txpool",
        "data": "nonce is not continuous",
    }
    tx = signed(ALICE, transfer(ALICE, BOB, 5), 0)
    assert await call(devnet, "sendrawtransaction", tx=tx.hex()) == Transaction.decode(tx).hash.hex()


async def test_tls_nodes_are_named_by_their_tls_ports(make_devnet: MakeDevnet) -> None:
    devnet = await make_devnet(seed=5, tls=True)
    index = devnet.responsible(ADDRESS)
    assert index is not None
    node = devnet.nodes[index]
    assert node.tls_port not in (0, node.port)
    plain = await call(devnet, "getwsaddr", address=ADDRESS)
    secure = await call(devnet, "getwssaddr", address=ADDRESS)
    assert plain["addr"] == f"127.0.0.1:{node.port}"
    assert secure == {**plain, "addr": f"127.0.0.1:{node.tls_port}"}


@pytest.mark.parametrize(
    ("method", "params", "code", "data"),
    [
        ("nosuchmethod", {}, -42001, None),
        ("getwsaddr", {}, -42002, "length of params is less than 1"),
        ("getwsaddr", {"address": 5}, -45001, "address should be a string"),
        ("getwsaddr", {"address": "alice.xyz"}, -45001, "'alice.xyz' is not an NKN address"),
        ("getwssaddr", {"address": "alice.xyz"}, -45001, "'alice.xyz' is not an NKN address"),
        ("getregistrant", {"name": None}, -42002, "name should be a string"),
    ],
)
async def test_bad_calls(
    devnet: Devnet, method: str, params: dict[str, object], code: int, data: str | None
) -> None:
    error = await call(devnet, method, **params)
    assert error["code"] == code
    assert (data is None and "data" not in error) or error["data"].startswith(data)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", -42004, "INVALID JSON"),
        (b"{", -42004, "INVALID JSON"),
        (b"\xff\xfe", -42004, "INVALID JSON"),
        (b'{"method": "\xff"}', -42004, "INVALID JSON"),
        (b"[" * 5000, -42004, "INVALID JSON"),
        (b"[]", -42004, "INVALID JSON"),
        (b"{}", -42001, "INVALID METHOD"),
        (b'{"method": 5}', -42001, "INVALID METHOD"),
        (b'{"method": "getversion", "params": []}', -42002, "INVALID PARAMS"),
    ],
)
async def test_bodies_that_are_no_requests(devnet: Devnet, body: bytes, code: int, message: str) -> None:
    answer = await post(devnet, body)
    assert answer == {"jsonrpc": "2.0", "id": "1", "error": {"code": code, "message": message}}


async def test_a_request_may_leave_its_parameters_out(devnet: Devnet) -> None:
    assert (await post(devnet, {"method": "getlatestblockheight"}))["result"] == devnet.chain.height


async def test_large_requests_are_refused(devnet: Devnet) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(devnet.rpc_url, data=bytes(1_000_000)) as response:
            assert response.status == 413
        async with session.get(devnet.rpc_url) as response:
            assert response.status == 405


LEDGER_METHODS = LedgerMethods(Ledger(Chain(0), {}, 0, instant=True), Chain(0)).methods
METHODS = ["getlatestblockhash", "getnodestate", *LEDGER_METHODS]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(ADDRESS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = ["address", "name", "topic", "offset", "limit", "bucket", "meta", "txPool", "subscriber"]
PARAMS = st.dictionaries(st.sampled_from([*NAMES, "subscriberHashPrefix", "tx", "x"]), VALUES, max_size=5)


@given(st.sampled_from(METHODS), PARAMS | VALUES)
def test_whatever_is_asked_is_answered(method: str, params: object) -> None:
    server = RPCServer(Devnet(DevnetConfig(nodes=1, listen="127.0.0.1:0")))
    body = json.dumps({"id": "7", "method": method, "params": params}).encode()
    answer = server.answer(body, "127.0.0.1")
    assert ("result" in answer) != ("error" in answer)
    msgspec.json.encode(answer)
