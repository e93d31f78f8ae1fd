"""How a client joins, and how it is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from nconnect.devnet import Devnet
from nconnect.nkn.keys import KeyPair

from .conftest import MakeClient, MakeDevnet
from .raw_client import RawClient


async def test_a_client_joins_the_node_that_rpc_names(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice = make_client(1, "alice")
    await alice.connect(devnet)
    assert len(alice.challenge) == 32
    answer = await alice.set_client()
    assert (answer.action, answer.error, answer.description) == ("setClient", 0, "SUCCESS")
    index = devnet.responsible(alice.address)
    assert index is not None
    node = devnet.nodes[index]
    assert answer.node.public_key == node.key.public_key
    assert answer.node.addr == f"127.0.0.1:{node.port}"
    assert answer.block_hash == devnet.chain.sig_chain_block_hash
    assert devnet.stats.joined == 1


async def test_challenges_differ(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1)
    first, second = make_client(), make_client()
    await first.connect(devnet)
    await second.connect(devnet)
    assert first.challenge != second.challenge


async def test_the_wrong_node_names_the_right_one(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=3)
    alice = make_client(1, "alice")
    right = devnet.responsible(alice.address)
    assert right is not None
    await alice.connect(devnet, (right + 1) % 3)
    answer = await alice.set_client()
    assert (answer.action, answer.error) == ("setClient", 48001)
    assert answer.description == "WRONG NODE TO CONNECT"
    assert answer.node == devnet.node_info(right, "127.0.0.1")
    # It has not joined: what it sends goes nowhere.
    alice.node = answer
    await alice.send(alice.address, b"x")
    await alice.barrier()
    assert devnet.stats.malformed == 1


async def test_a_bad_signature_is_refused_and_the_connection_ends(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(refusal_delay=0.2)
    alice, eve = make_client(1, "alice"), KeyPair.generate()
    await alice.connect(devnet)
    alice.key = eve
    answer = await alice.set_client()
    assert (answer.action, answer.error) == ("setClient", 42003)
    assert answer.description == "VERIFY SIGNATURE ERROR"
    started = asyncio.get_running_loop().time()
    await alice.receive_close()
    assert asyncio.get_running_loop().time() - started > 0.1
    assert devnet.stats.joined == 0
    assert devnet.stats.refused == 1


async def test_a_signature_for_another_challenge_is_refused(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice, again = make_client(1, "alice"), make_client(1, "alice")
    await alice.connect(devnet)
    await again.connect(devnet)
    again.challenge = alice.challenge
    assert (await again.set_client()).error == 42003


async def test_a_client_of_before_the_challenge_may_join_unsigned(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice = make_client(1, "alice")
    await alice.connect(devnet)
    await alice.send_json({"Action": "setClient", "Addr": alice.address})
    assert (await alice.receive_text()).error == 0


@pytest.fixture
async def stranger(make_devnet: MakeDevnet, make_client: MakeClient) -> RawClient:
    """A client that has connected and not joined."""
    client = make_client(1, "stranger")
    await client.connect(await make_devnet(nodes=1))
    return client


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"Addr": ""}, 42002),
        ({"Addr": "alice"}, 42002),
        ({"Addr": "alice." + "g" * 64}, 42002),
        ({"Addr": "alice." + "a" * 62}, 42002),
        ({"Signature": "zz"}, 41003),
        ({"ClientSalt": "zz"}, 41003),
        ({"Signature": 5}, 42002),
        ({"ClientSalt": None}, 42002),
        ({"Signature": ""}, 42003),
        ({"Signature": "00" * 64}, 42003),
        ({"Signature": "00" * 65}, 42003),
    ],
)
async def test_bad_requests_to_join(stranger: RawClient, changes: dict[str, Any], error: int) -> None:
    answer = await stranger.set_client(**changes)
    assert answer.error == error
    assert answer.action == "setClient"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", 41003),
        ("{", 41003),
        ("[" * 100_000, 41003),
        ("5", 41003),
        ("[]", 41003),
        ("{}", 42001),
        ('{"Action": 5}', 42001),
        ('{"Action": "unknown"}', 42001),
        ('{"Action": "setClient", "Addr": 5}', 42002),
        ('{"Action": "setClient"}', 42002),
        ('{"Action": "setClient", "Addr": "\\ud800"}', 41003),
    ],
)
async def test_texts_that_are_no_requests(stranger: RawClient, text: str, error: int) -> None:
    await stranger.websocket.send_str(text)
    assert (await stranger.receive_text()).error == error
    # The connection goes on.
    assert (await stranger.set_client()).error == 0


async def test_a_text_that_is_not_utf_8(stranger: RawClient) -> None:
    await stranger.websocket.send_frame(b'{"Action": "\xff"}', aiohttp.WSMsgType.TEXT)
    assert (await stranger.receive_text()).error == 41003
    assert (await stranger.set_client()).error == 0


async def test_a_client_may_join_again_under_another_address(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=1)
    alice, bob = make_client(1, "alice"), make_client(2)
    await alice.join(devnet)
    await bob.join(devnet)
    old = alice.address
    alice.address = old.replace("alice", "carol")
    assert (await alice.set_client()).error == 0
    await bob.send([old, alice.address], b"for carol")
    assert (await alice.receive()).payload == b"for carol"
    await alice.barrier()
    assert devnet.stats.absent == 1


async def test_the_block_hash_changes_with_time(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1, block_interval=0.05)
    alice = make_client()
    await alice.join(devnet)
    hashes = []
    for _ in range(3):
        text = await alice.receive_text()
        assert (text.action, text.error) == ("updateSigChainBlockHash", 0)
        hashes.append(text.block_hash)
    assert len(set(hashes)) == 3
    assert devnet.chain.sig_chain_block_hash == hashes[-1]


async def test_two_devnets_of_one_seed_are_alike(make_devnet: MakeDevnet) -> None:
    def identity(devnet: Devnet) -> list[object]:
        return [(node.id, node.key.public_key) for node in devnet.nodes] + [devnet.chain.block_hash]

    first, second, other = [await make_devnet(seed=seed) for seed in (3, 3, 4)]
    assert identity(first) == identity(second) != identity(other)


async def test_clients_with_tls_are_among_the_others(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(tls=True)
    alice, bob = make_client(1, "alice"), make_client(2, "bob")
    await bob.join(devnet)
    await alice.connect(devnet, tls=True)
    alice.node = await alice.set_client()
    index = devnet.responsible(alice.address)
    assert index is not None
    assert alice.node.node.addr == f"127.0.0.1:{devnet.nodes[index].tls_port}"
    await alice.send(bob.address, b"from behind TLS")
    assert (await bob.receive()).payload == b"from behind TLS"
    await bob.send(alice.address, b"back")
    assert (await alice.receive()).payload == b"back"


async def test_clients_with_tls_are_sent_to_tls_ports(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=3, tls=True)
    alice = make_client(1, "alice")
    right = devnet.responsible(alice.address)
    assert right is not None
    await alice.connect(devnet, (right + 1) % 3, tls=True)
    answer = await alice.set_client()
    assert (answer.error, answer.node.addr) == (48001, f"127.0.0.1:{devnet.nodes[right].tls_port}")
    # The same when the network's layout changes.
    await devnet.stop_node(right)
    new = devnet.responsible(alice.address)
    assert new is not None
    await alice.connect(devnet, tls=True)
    await alice.set_client()
    await devnet.start_node(right)
    moved = await alice.receive_text()
    assert (moved.error, moved.node.addr) == (48001, f"127.0.0.1:{devnet.nodes[right].tls_port}")
