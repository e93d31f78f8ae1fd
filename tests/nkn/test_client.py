"""One sub-client against nodes that are old, wrong, silent or hostile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial

import pytest
from picows import WSMsgType

from nconnect.errors import CryptoError, NetworkError, PrivilegeError
from nconnect.nkn import messages
from nconnect.nkn.client import MAX_MOVES, MAX_PREV_HASH, State
from nconnect.nkn.messages import ErrorCode, Inbound, Outbound, Receipt
from nconnect.nkn.websocket import MAX_WEBSOCKET_FRAME

from .fake_node import QUICK, Alone, FakeNode, StubRPC
from .waiting import PATIENCE


def has_lost(alone: Alone, times: int) -> bool:
    return alone.lost == times


NodeMaker = Callable[[], Awaitable[FakeNode]]


@pytest.fixture
async def make_node() -> AsyncIterator[NodeMaker]:
    nodes: list[FakeNode] = []

    async def make() -> FakeNode:
        nodes.append(await FakeNode().start())
        return nodes[-1]

    yield make
    for node in nodes:
        await node.stop()


@pytest.fixture
async def node(make_node: NodeMaker) -> FakeNode:
    return await make_node()


def refusal(code: int) -> str:
    return messages.encode_node_text(messages.SET_CLIENT, code, None)


async def test_it_proves_its_key_and_is_ready(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        (request,) = node.requests
        assert request.address == f"__1__.{alone.base}"
        assert node.challenge is not None
        messages.verify_challenge(alone.key.public_key, node.challenge, request)
        status = alone.client.status
        assert (status.index, status.address, status.node) == (1, request.address, node.addr)
        assert (status.state, status.error) == (State.READY, "")
        assert alone.client.usable
    assert alone.client.state is State.CLOSED
    assert not alone.client.usable


async def test_an_old_node_sends_no_challenge(node: FakeNode) -> None:
    node.challenge = None
    async with Alone(StubRPC([node]), replace(QUICK, challenge_timeout=0.05)) as alone:
        await alone.until_ready()
    (request,) = node.requests
    assert (request.salt, request.signature) == (b"", b"")


async def test_the_wrong_node_names_the_right_one(make_node: NodeMaker) -> None:
    wrong, right = await make_node(), await make_node()
    wrong.answer = lambda request: wrong.wrong_node(right)
    rpc = StubRPC([wrong])
    async with Alone(rpc) as alone:
        await alone.until_ready()
        assert alone.client.status.node == right.addr
    assert len(rpc.asked) == 1


async def test_it_moves_when_the_layout_changes(make_node: NodeMaker) -> None:
    first, second = await make_node(), await make_node()
    rpc = StubRPC([first])
    async with Alone(rpc) as alone:
        await alone.until_ready()
        first.send_text(messages.encode_node_text("", ErrorCode.WRONG_NODE, second.info.to_json()))
        await alone.until(lambda: alone.client.ready and alone.client.status.node == second.addr)
        assert alone.lost
    assert len(rpc.asked) == 1


async def test_two_nodes_that_name_each_other(make_node: NodeMaker) -> None:
    left, right, good = await make_node(), await make_node(), await make_node()
    left.answer = lambda request: left.wrong_node(right)
    right.answer = lambda request: right.wrong_node(left)
    rpc = StubRPC([left, good])
    async with Alone(rpc) as alone:
        await alone.until_ready()
    assert len(left.requests) + len(right.requests) == MAX_MOVES + 1
    assert len(rpc.asked) == 2


async def test_a_wrong_node_that_names_nobody(make_node: NodeMaker) -> None:
    bad, good = await make_node(), await make_node()
    bad.answer = lambda request: refusal(ErrorCode.WRONG_NODE)
    rpc = StubRPC([bad, good])
    async with Alone(rpc) as alone:
        await alone.until_ready()
    assert len(rpc.asked) == 2


@pytest.mark.parametrize("code", [ErrorCode.INVALID_SIGNATURE, ErrorCode.INVALID_PARAMS, 41002])
async def test_a_refusal_is_final(node: FakeNode, code: int, caplog: pytest.LogCaptureFixture) -> None:
    node.answer = lambda request: refusal(code)
    with caplog.at_level(logging.WARNING):
        async with Alone(StubRPC([node])) as alone:
            await alone.until(lambda: alone.client.state is State.FAILED)
            assert f"refuses __1__.{alone.base}: {code}" in alone.client.status.error
    assert len(node.requests) == 1
    assert "gives up" in caplog.text


async def test_the_nodes_own_trouble_is_not_final(node: FakeNode) -> None:
    answers = [refusal(ErrorCode.INTERNAL_ERROR), messages.encode_joined(node.info, b"")]
    node.answer = lambda request: answers.pop(0)
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
    assert len(node.requests) == 2


async def test_no_right_to_mark_sockets_is_final(node: FakeNode) -> None:
    async with Alone(StubRPC([PrivilegeError("needs root")])) as alone:
        await alone.until(lambda: alone.client.state is State.FAILED)
        assert isinstance(alone.client.error, PrivilegeError)


async def test_a_node_that_never_answers_is_left(node: FakeNode) -> None:
    node.answer = lambda request: None
    config = replace(QUICK, challenge_timeout=0.02, join_timeout=0.02)
    async with Alone(StubRPC([node]), config) as alone:
        await node.until(lambda: len(node.requests) >= 2)
        assert "did not answer setClient" in str(alone.client.error)


async def test_a_silent_node_is_left(node: FakeNode) -> None:
    node.answers_pings = False
    async with Alone(StubRPC([node]), replace(QUICK, silence_timeout=0.2)) as alone:
        await alone.until_ready()
        await alone.until(lambda: "silent for 0.2 s" in str(alone.client.error))
        node.answers_pings = True
        await alone.until_ready()
    assert node.pings >= 2


async def test_pings_keep_a_quiet_connection(node: FakeNode) -> None:
    async with Alone(StubRPC([node]), replace(QUICK, silence_timeout=0.3)) as alone:
        await alone.until_ready()
        # Twelve pings take twice the time of silence that ends a connection.
        await node.until(lambda: node.pings >= 12)
        assert alone.client.ready
        node.connections[-1].send_ping(b"are you there")
        await node.until(lambda: node.pongs)
    assert len(node.connections) == 1


async def test_a_lost_connection_is_made_again(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        for attempt in range(1, 4):
            await alone.until_ready()
            assert len(node.connections) == attempt
            node.connections[-1].disconnect(graceful=False)
            await alone.until(partial(has_lost, alone, attempt))
        await alone.until_ready()


async def test_it_waits_for_a_node_that_is_down(node: FakeNode) -> None:
    port = int(node.addr.rpartition(":")[2])
    await node.stop()
    rpc = StubRPC([NetworkError("no seed answered"), node])
    async with Alone(rpc) as alone:
        await alone.until(lambda: "no seed answered" in str(alone.client.error))
        refused = f"cannot connect to node {node.addr}: connection refused by {node.addr}"
        await alone.until(lambda: refused == str(alone.client.error))
        await node.start(port)
        await alone.until_ready()
        assert alone.client.status.error == ""


@pytest.mark.parametrize(
    "addr", ["", "nohost", "host:0", "host:99999", "a/b:1", "127.0.0.1:1/?x", "h:1\r\nX: y"]
)
async def test_a_node_address_that_is_none(node: FakeNode, addr: str) -> None:
    node.addr = addr
    async with Alone(StubRPC([node])) as alone:
        await alone.until(lambda: "is not host:port" in str(alone.client.error))


async def test_failures_after_a_long_stay_are_counted_from_one(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def no_delay(failures: int, outage: float) -> float:
        counted.append(failures)
        return 0.0

    async with Alone(StubRPC([node])) as alone:
        monkeypatch.setattr(alone.client, "_backoff", no_delay)
        for failures in (1, 2):
            await alone.until_ready()
            node.connections[-1].disconnect(graceful=False)
            await alone.until(lambda: not alone.client.ready)
            await alone.until_ready()
            assert counted[-1] == failures, "it had not stayed long"
        alone.client._ready_at = asyncio.get_running_loop().time() - QUICK.silence_timeout
        counted.clear()
        await node.stop()
        await alone.until(lambda: len(counted) >= 4)
    assert counted[:4] == [1, 2, 3, 4]


async def test_an_error_of_the_program_is_no_end(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    rpc = StubRPC([RuntimeError("a mistake"), node])
    async with Alone(rpc) as alone:
        await alone.until_ready()
    assert "a mistake" in caplog.text


def test_back_off_grows_with_the_outage_up_to_its_limit() -> None:
    alone_config = replace(QUICK, reconnect_min=1.0, reconnect_max=64.0)
    client = Alone(StubRPC([NetworkError("")]), alone_config).client
    assert all(client._backoff(1, 0.0) <= 0.25 for _ in range(50))
    for outage, most in [(0, 1), (32, 1), (64, 2), (1024, 32), (2048, 64), (1e6, 64)]:
        delays = [client._backoff(2, outage) for _ in range(50)]
        assert 0.75 * most <= min(delays) <= max(delays) <= most


# --- messages ---


def some_inbound(alone: Alone, prev_hash: bytes = b"") -> bytes:
    return messages.encode_inbound(alone.base, b"payload", prev_hash)


async def test_garbage_costs_only_itself(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        for frame in (b"", b"\xff" * 50, b"\x08\x02\x12\x00", bytes(300), b"\x08\x00\x12\x02\x0a\x00"):
            node.send_frame(frame)
        node.send_frame(some_inbound(alone))
        await alone.until(lambda: alone.inbound)
        assert alone.inbound == [Inbound(alone.base, b"payload")]
        alone.error = CryptoError("does not verify")
        node.send_frame(some_inbound(alone))
        alone.error = RuntimeError("an error of the program")
        node.send_frame(some_inbound(alone))
        await alone.until(lambda: len(alone.inbound) == 3)
        assert alone.client.ready
    assert len(node.connections) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"Action":"setClient","Error":0,"Result":{}}', "[" * 5000])
async def test_a_node_that_talks_nonsense_is_left(node: FakeNode, text: str) -> None:
    answers = [text, messages.encode_joined(node.info, b"\x11")]
    node.answer = lambda request: answers.pop(0)
    async with Alone(StubRPC([node])) as alone:
        await alone.until(lambda: "makes no sense" in str(alone.client.error))
        await alone.until_ready()


async def test_texts_that_say_nothing_new_are_passed_over(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        node.send_text(messages.encode_node_text("", 45001, None))
        node.send_text(messages.encode_challenge(bytes(32)))
        node.send_text(messages.encode_node_text("news", ErrorCode.SUCCESS, [1, 2]))
        node.send_frame(some_inbound(alone))
        await alone.until(lambda: alone.inbound)
    assert len(node.requests) == 1


async def test_fragments_are_put_together(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        frame = some_inbound(alone)
        connection = node.connections[-1]
        connection.send(WSMsgType.BINARY, frame[:5], fin=False)
        connection.send(WSMsgType.CONTINUATION, frame[5:9], fin=False)
        connection.send_ping()
        connection.send(WSMsgType.CONTINUATION, frame[9:], fin=True)
        await alone.until(lambda: alone.inbound)
        text = messages.encode_block_hash(b"\x44" * 32).encode()
        connection.send(WSMsgType.TEXT, text[:5], fin=False)
        connection.send(WSMsgType.CONTINUATION, text[5:], fin=True)
        node.send_frame(frame)
        await alone.until(lambda: len(alone.inbound) == 2)
        alone.client.send([alone.base], [b"x"], 0)
        await node.until(lambda: node.frames)
        outbound = messages.decode_frame(node.frames[0])
        assert isinstance(outbound, Outbound)
        assert outbound.block_hash == b"\x44" * 32


@pytest.mark.parametrize(
    "fragments",
    [
        [(WSMsgType.BINARY, MAX_WEBSOCKET_FRAME + 1, True)],
        [(WSMsgType.BINARY, MAX_WEBSOCKET_FRAME, False), (WSMsgType.CONTINUATION, 1, False)],
        [(WSMsgType.CONTINUATION, 10, True)],
    ],
    ids=["one frame", "fragments", "no beginning"],
)
async def test_bad_framing_ends_the_connection(
    node: FakeNode, fragments: list[tuple[WSMsgType, int, bool]]
) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        for kind, size, last in fragments:
            node.connections[-1].send(kind, bytes(size), fin=last)
        await alone.until(partial(has_lost, alone, 1))
        await alone.until_ready()
    assert alone.inbound == []


async def test_receipts(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        node.send_frame(some_inbound(alone, bytes(MAX_PREV_HASH + 1)))
        node.send_frame(some_inbound(alone, b"\x77" * 64))
        await node.until(lambda: node.frames)
        assert len(alone.inbound) == 2
    (frame,) = node.frames
    receipt = messages.decode_frame(frame)
    assert isinstance(receipt, Receipt)
    assert receipt.prev_hash == b"\x77" * 64
    messages.verify_receipt(receipt, alone.key.public_key)


async def test_messages_are_signed_for_the_node(node: FakeNode) -> None:
    async with Alone(StubRPC([node])) as alone:
        await alone.until_ready()
        alone.client.send([alone.base], [b"envelope"], 60)
        await node.until(lambda: node.frames)
        outbound = messages.decode_frame(node.frames[0])
        assert isinstance(outbound, Outbound)
        messages.verify_outbound(outbound, alone.client.address, node.public_key)
        assert (outbound.max_holding_seconds, outbound.block_hash) == (60, b"\x11" * 32)
        status = alone.client.status
        assert status.bytes_sent == len(node.frames[0])


async def test_a_node_that_stops_reading_makes_the_path_unusable(node: FakeNode) -> None:
    async with Alone(StubRPC([node]), replace(QUICK, silence_timeout=60.0)) as alone:
        await alone.until_ready()
        reader = node.connections[-1].underlying_transport
        reader.pause_reading()
        sent = 0
        async with asyncio.timeout(PATIENCE):
            while alone.client.usable:
                alone.client.send([alone.base], [bytes(1_000_000)], 0)
                sent += 1
                await asyncio.sleep(0)
        assert alone.client.ready
        reader.resume_reading()
        await alone.until(lambda: alone.client.usable)
        await node.until(lambda: len(node.frames) == sent)
