"""The network as a whole: ports, addresses, nodes that die and come back."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
import uvloop

from nconnect.devnet import Devnet, DevnetConfig, Shape
from nconnect.errors import ConfigError

from .conftest import MakeClient, MakeDevnet
from .raw_client import RawClient
from .transacting import ALICE, BOB, account, signed, transfer


def free_ports(count: int) -> int:
    """The first of some ports in a row that are free."""
    for port in range(21_000, 30_000, 16):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, candidate in enumerate(sockets):
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        else:
            return port
        finally:
            for candidate in sockets:
                candidate.close()
    raise AssertionError("no free ports")


def client_of(devnet: Devnet, node: int, make_client: MakeClient, name: str = "x") -> RawClient:
    """A client that a certain node serves."""
    number = 0
    while True:
        client = make_client(1, f"{name}{number}")
        if devnet.responsible(client.address) == node:
            return client
        number += 1


async def test_node_i_listens_on_port_plus_1_plus_i(make_devnet: MakeDevnet) -> None:
    port = free_ports(4)
    devnet = await make_devnet(nodes=3, listen=f"127.0.0.1:{port}")
    assert devnet.rpc_url == f"http://127.0.0.1:{port}"
    assert [node.port for node in devnet.nodes] == [port + 1, port + 2, port + 3]


@pytest.mark.parametrize(("taken", "who"), [(0, "the RPC server"), (2, "node 1")])
async def test_a_port_that_is_taken_is_named_and_nothing_stays_open(taken: int, who: str) -> None:
    port = free_ports(4)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + taken))
        other.listen()
        devnet = Devnet(DevnetConfig(nodes=3, listen=f"127.0.0.1:{port}"))
        with pytest.raises(ConfigError, match=rf"{who} cannot listen on 127.0.0.1:{port + taken}: .*taken"):
            await devnet.start()
    async with Devnet(DevnetConfig(nodes=3, listen=f"127.0.0.1:{port}")):
        pass


async def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(ConfigError, match=r"node 0 cannot listen on 192\.0\.2\.1:30004"):
        await Devnet(DevnetConfig(listen="192.0.2.1:30003")).start()


async def test_the_network_can_be_started_again_on_its_ports() -> None:
    port = free_ports(3)
    for _ in range(2):
        async with Devnet(DevnetConfig(nodes=2, listen=f"127.0.0.1:{port}")) as devnet, RawClient() as client:
            await client.join(devnet)
            await client.barrier()


async def test_closing_cuts_clients_off(make_client: MakeClient) -> None:
    client = make_client()
    async with Devnet(DevnetConfig(nodes=1, listen="127.0.0.1:0")) as devnet:
        await client.join(devnet)
    await client.receive_close()


async def ask_addr(url: str) -> str:
    request = {"method": "getwsaddr", "params": {"address": "a" * 64}}
    async with aiohttp.ClientSession() as session, session.post(url, json=request) as response:
        addr: str = (await response.json())["result"]["addr"]
        return addr


async def test_clients_are_told_the_advertised_host(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=2, advertise="gateway.example")
    port = devnet.rpc_url.rpartition(":")[2]
    assert devnet.rpc_url == f"http://gateway.example:{port}"
    assert (await ask_addr(f"http://127.0.0.1:{port}")).startswith("gateway.example:")
    client = client_of(devnet, 0, make_client)
    await client.connect(devnet, 1)
    assert (await client.set_client()).node.addr == f"gateway.example:{devnet.nodes[0].port}"


async def test_a_wildcard_is_advertised_as_the_address_that_was_reached(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=2, listen="0.0.0.0:0")
    port = devnet.rpc_url.rpartition(":")[2]
    assert devnet.rpc_url == f"http://127.0.0.1:{port}"
    assert (await ask_addr(f"http://127.0.0.2:{port}")).startswith("127.0.0.2:")
    client = client_of(devnet, 0, make_client)
    await client.connect(devnet, 1)
    assert (await client.set_client()).node.addr == f"127.0.0.1:{devnet.nodes[0].port}"


async def test_ipv6(make_devnet: MakeDevnet) -> None:
    devnet = await make_devnet(nodes=1, listen="[::1]:0")
    assert devnet.rpc_url.startswith("http://[::1]:")
    assert await ask_addr(devnet.rpc_url) == f"[::1]:{devnet.nodes[0].port}"


async def test_a_dead_nodes_clients_are_served_by_another_until_it_is_back(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=3)
    bob, alice = client_of(devnet, 2, make_client, "bob"), client_of(devnet, 0, make_client, "alice")
    await bob.join(devnet)
    await alice.join(devnet)

    await devnet.stop_node(2)
    await bob.receive_close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await bob.connect(devnet, 2)
    await alice.send(bob.address, b"into the void")
    await alice.barrier()
    assert devnet.stats.absent == 1
    assert devnet.responsible(bob.address) == 1
    await bob.join(devnet)
    await alice.send(bob.address, b"by another way")
    assert (await bob.receive()).payload == b"by another way"

    await devnet.start_node(2)
    moved = await bob.receive_text()
    assert (moved.error, moved.node.addr) == (48001, f"127.0.0.1:{devnet.nodes[2].port}")
    await bob.join(devnet, 2)
    await alice.send(bob.address, b"home")
    assert (await bob.receive()).payload == b"home"


async def test_a_network_without_nodes_answers_and_recovers(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=1)
    await devnet.stop_node(0)
    await devnet.stop_node(0)
    request = {"method": "getwsaddr", "params": {"address": "a" * 64}}
    async with aiohttp.ClientSession() as session, session.post(devnet.rpc_url, json=request) as response:
        assert (await response.json())["error"]["code"] == -45001
    await devnet.start_node(0)
    await devnet.start_node(0)
    await make_client().join(devnet)


async def test_messages_under_way_to_a_node_that_dies_are_lost(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=2, latency_ms=100)
    alice, bob = client_of(devnet, 0, make_client, "alice"), client_of(devnet, 1, make_client, "bob")
    await alice.join(devnet)
    await bob.join(devnet)
    await alice.send(bob.address, b"too late")
    await alice.barrier()
    await devnet.stop_node(1)
    async with asyncio.timeout(5):
        while not devnet.stats.absent:
            await alice.barrier()


def test_it_runs_on_uvloop_too() -> None:
    """The command line uses uvloop, whose timers and servers differ in details from asyncio's."""

    async def run() -> None:
        config = DevnetConfig(nodes=2, listen="127.0.0.1:0", latency_ms=2, jitter_ms=2, rate_mbit=100)
        async with Devnet(config) as devnet, RawClient(1) as alice, RawClient(2) as bob:
            await alice.join(devnet)
            await bob.join(devnet)
            for _ in range(2):
                contents = {b"%d" % i for i in range(100)}
                for content in contents:
                    await alice.send(bob.address, content)
                assert {(await bob.receive()).payload for _ in contents} == contents
                home = devnet.responsible(bob.address)
                assert home is not None
                await devnet.stop_node(home)
                await devnet.start_node(home)
                await bob.join(devnet, home)
                if devnet.responsible(alice.address) == home:
                    await alice.join(devnet, home)

    uvloop.run(run())


async def test_a_node_may_be_slower_than_the_others(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=2, latency_ms=2, node_shapes={1: Shape(latency_ms=200)})
    fast, slow = client_of(devnet, 0, make_client, "fast"), client_of(devnet, 1, make_client, "slow")
    await fast.join(devnet)
    await slow.join(devnet)
    started = asyncio.get_running_loop().time()
    await slow.send(fast.address, b"late")
    await fast.send(fast.address, b"early")
    assert (await fast.receive()).payload == b"early"
    assert (await fast.receive()).payload == b"late"
    assert asyncio.get_running_loop().time() - started >= 0.1


async def test_tls_ports_follow_the_others_and_stay(make_devnet: MakeDevnet) -> None:
    port = free_ports(7)
    devnet = await make_devnet(nodes=3, listen=f"127.0.0.1:{port}", tls=True)
    assert [node.tls_port for node in devnet.nodes] == [port + 4, port + 5, port + 6]
    await devnet.stop_node(1)
    await devnet.start_node(1)
    assert devnet.nodes[1].tls_port == port + 5


async def test_a_tls_port_that_is_taken_is_named(make_devnet: MakeDevnet) -> None:
    port = free_ports(5)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 4))
        other.listen()
        with pytest.raises(ConfigError, match=rf"node 1 with TLS cannot listen on 127\.0\.0\.1:{port + 4}"):
            await make_devnet(nodes=2, listen=f"127.0.0.1:{port}", tls=True)
    await make_devnet(nodes=2, listen=f"127.0.0.1:{port}", tls=True)


async def test_a_block_brings_what_waited(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(instant=False, faucet="1")
    alice = make_client(1, "alice")
    await alice.join(devnet)
    devnet.ledger.submit(signed(ALICE, transfer(ALICE, BOB, 5), 0))
    accounts = devnet.ledger.confirmed.accounts
    assert accounts.balance(account(BOB)) == 100_000_000
    height = devnet.chain.height
    devnet.make_block()
    assert accounts.balance(account(BOB)) == 100_000_005
    assert devnet.chain.height == height + 1
    news = await alice.receive_text()
    assert (news.action, news.block_hash) == ("updateSigChainBlockHash", devnet.chain.sig_chain_block_hash)
