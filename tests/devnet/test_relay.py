"""What becomes of messages."""

from __future__ import annotations

import asyncio
import os
import random
import zlib

import pytest

from nconnect.devnet import Devnet
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.keys import KeyPair

from .conftest import MakeClient, MakeDevnet
from .raw_client import RawClient


async def pair(make_client: MakeClient, devnet: Devnet) -> tuple[RawClient, RawClient]:
    alice, bob = make_client(1, "alice"), make_client(2, "bob")
    await alice.join(devnet)
    await bob.join(devnet)
    return alice, bob


@pytest.mark.parametrize("size", [1, 1000, 131_072, 3_990_000])
async def test_a_message_arrives_whole(make_devnet: MakeDevnet, make_client: MakeClient, size: int) -> None:
    devnet = await make_devnet()
    alice, bob = await pair(make_client, devnet)
    content = os.urandom(size)
    await alice.send(bob.address, content)
    message = await bob.receive()
    assert (message.src, message.payload, message.prev_hash) == (alice.address, content, b"")
    assert devnet.stats.delivered == 1


async def test_a_message_to_oneself(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1)
    alice = make_client()
    await alice.join(devnet)
    await alice.send(alice.address, b"note")
    assert (await alice.receive()).payload == b"note"


async def test_order_is_kept(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    alice, bob = await pair(make_client, await make_devnet())
    for i in range(200):
        await alice.send(bob.address, b"%d" % i)
    assert [(await bob.receive()).payload for _ in range(200)] == [b"%d" % i for i in range(200)]


async def test_one_payload_for_all_destinations_or_one_each(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice, bob = await pair(make_client, devnet)
    carol = make_client(3)
    await carol.join(devnet)
    await alice.send([bob.address, carol.address], b"all")
    # encode_outbound compresses messages with several payloads.
    await alice.send([bob.address, carol.address], b"bob's", b"carol's")
    assert [(await bob.receive()).payload for _ in range(2)] == [b"all", b"bob's"]
    assert [(await carol.receive()).payload for _ in range(2)] == [b"all", b"carol's"]


async def test_one_bad_destination_does_not_stop_the_others(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice, bob = await pair(make_client, devnet)
    frame = pb.OutboundMessage(
        dests=["nobody", "", bob.address], signatures=[bytes(64)] * 3, payloads=[b"x"], max_holding_seconds=60
    )
    await alice.websocket.send_bytes(pb.ClientMessage(message=frame.SerializeToString()).SerializeToString())
    assert (await bob.receive()).payload == b"x"
    assert (devnet.held, devnet.stats.absent) == (0, 2)


async def test_the_old_fields_are_understood(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    alice, bob = await pair(make_client, await make_devnet())
    old = pb.OutboundMessage(dest=bob.address, payload=b"old", signatures=[bytes(64)])
    await alice.websocket.send_bytes(pb.ClientMessage(message=old.SerializeToString()).SerializeToString())
    assert (await bob.receive()).payload == b"old"


async def test_receivers_see_the_senders_key_in_lower_case(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=1)
    bob = make_client(2)
    await bob.join(devnet)
    alice = make_client(1, "Alice")
    proper = alice.address
    alice.address = "Alice." + alice.key.public_key.hex().upper()
    await alice.join(devnet)
    await alice.send(bob.address, b"x")
    assert (await bob.receive()).src == proper


async def test_every_websocket_of_a_client_gets_the_message(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet()
    alice, bob = await pair(make_client, devnet)
    again = make_client(2, "bob")
    await again.join(devnet)
    await alice.send(bob.address, b"both")
    assert (await bob.receive()).payload == (await again.receive()).payload == b"both"
    await bob.websocket.close()
    await alice.send(bob.address, b"one left")
    assert (await again.receive()).payload == b"one left"


async def test_a_message_for_an_absent_client_is_dropped(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=1)
    alice, bob = make_client(1), make_client(2)
    await alice.join(devnet)
    await alice.send(bob.address, b"gone")
    await alice.barrier()
    assert (devnet.stats.absent, devnet.held) == (1, 0)


async def test_a_message_is_held_if_the_sender_asks(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet()
    alice, bob = make_client(1), make_client(2)
    await alice.join(devnet)
    for i in range(3):
        await alice.send(bob.address, b"held %d" % i, holding=60)
    await alice.barrier()
    assert devnet.held == 3
    await bob.join(devnet)
    assert [(await bob.receive()).payload for _ in range(3)] == [b"held 0", b"held 1", b"held 2"]
    assert devnet.held == 0
    # A second websocket does not get them again.
    again = make_client(2)
    await again.join(devnet)
    await again.barrier()


async def test_held_messages_expire(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(nodes=1, ping_interval=0.4)
    alice, bob = make_client(1), make_client(2)
    await alice.join(devnet)
    await alice.send(bob.address, b"late", holding=1)
    await alice.barrier()
    assert devnet.held == 1
    # Any message wakes this task; the devnet expires between pings.
    while devnet.held:
        await alice.barrier()
    assert devnet.stats.expired == 1
    await bob.join(devnet)
    await bob.barrier()


async def test_loss_drops_whole_messages_and_the_same_ones_for_one_seed(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    async def arrived(seed: int) -> list[bytes]:
        devnet = await make_devnet(nodes=2, loss_pct=20, seed=seed)
        alice, bob = await pair(make_client, devnet)
        for i in range(500):
            await alice.send(bob.address, b"%d" % i)
        await alice.barrier()
        return [(await bob.receive()).payload for _ in range(500 - devnet.stats.lost)]

    first = await arrived(1)
    assert 340 < len(first) < 460
    assert await arrived(1) == first
    assert await arrived(2) != first


async def test_latency_delays_messages(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(latency_ms=60)
    alice, bob = await pair(make_client, devnet)
    started = asyncio.get_running_loop().time()
    await alice.send(bob.address, b"x")
    await bob.receive()
    assert 0.055 < asyncio.get_running_loop().time() - started < 0.5


async def test_rate_limits_throughput(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    devnet = await make_devnet(rate_mbit=8)
    alice, bob = await pair(make_client, devnet)
    started = asyncio.get_running_loop().time()
    # 20 × 10 kB at 1 MB/s; all fit into the queue.
    for _ in range(20):
        await alice.send(bob.address, bytes(10_000))
    for _ in range(20):
        await bob.receive()
    assert 0.19 < asyncio.get_running_loop().time() - started < 1.0


class TestGarbage:
    """What is broken costs its sender the message and nobody else anything."""

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"\x00",
            b"\xff" * 100,
            b"\x12\x05abc",
            pb.ClientMessage(message=b"\xff").SerializeToString(),
            pb.ClientMessage(message_type=pb.INBOUND_MESSAGE, message=b"").SerializeToString(),
            pb.ClientMessage(message_type=pb.RECEIPT, message=b"\xff").SerializeToString(),
            pb.ClientMessage(message=b"not zlib", compression_type=pb.COMPRESSION_ZLIB).SerializeToString(),
            pb.ClientMessage(
                message=zlib.compress(bytes(5_000_000)), compression_type=pb.COMPRESSION_ZLIB
            ).SerializeToString(),
            pb.ClientMessage(message=pb.OutboundMessage().SerializeToString()).SerializeToString(),
            pb.ClientMessage(
                message=pb.OutboundMessage(dests=["a", "b", "c"], payloads=[b"1", b"2"]).SerializeToString()
            ).SerializeToString(),
        ],
    )
    async def test_malformed_messages_are_dropped(
        self, make_devnet: MakeDevnet, make_client: MakeClient, frame: bytes
    ) -> None:
        devnet = await make_devnet(nodes=1)
        alice, bob = await pair(make_client, devnet)
        await alice.websocket.send_bytes(frame)
        await alice.send(bob.address, b"good")
        assert (await bob.receive()).payload == b"good"
        assert devnet.stats.malformed == 1

    async def test_random_damage(self, make_devnet: MakeDevnet, make_client: MakeClient) -> None:
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        dice = random.Random(seed)
        devnet = await make_devnet(nodes=1)
        alice, bob = await pair(make_client, devnet)
        for _ in range(500):
            frame = bytearray(alice.encode([bob.address] * dice.randint(1, 2), b"payload", holding=1))
            for _ in range(dice.randint(1, 4)):
                frame[dice.randrange(len(frame))] = dice.randrange(256)
            await alice.websocket.send_bytes(bytes(frame[: dice.randint(0, len(frame))]))
        await alice.barrier()
        assert devnet.stats.received == 500

    async def test_a_message_before_set_client_is_dropped(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1)
        alice, bob = await pair(make_client, devnet)
        stranger = make_client(3)
        await stranger.connect(devnet)
        stranger.node = alice.node
        await stranger.send(bob.address, b"hello?")
        await stranger.barrier()
        assert (devnet.stats.malformed, devnet.stats.delivered) == (1, 0)


class TestVerification:
    """With ``verify_signatures``: who did not sign is not relayed, and who receives signs for it."""

    async def test_signed_messages_pass_and_ask_for_a_receipt(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1, verify_signatures=True)
        alice, bob = await pair(make_client, devnet)
        for i in range(3):
            await alice.send([bob.address, alice.address], b"to bob", b"to alice %d" % i)
            message = await bob.receive()
            assert message.payload == b"to bob"
            assert len(message.prev_hash) == 32
            await bob.send_receipt(message.prev_hash)
        await bob.barrier()
        assert (devnet.stats.receipts, devnet.stats.forged) == (3, 0)

    async def test_forged_messages_and_receipts_are_dropped(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1, verify_signatures=True)
        alice, bob = await pair(make_client, devnet)
        eve = KeyPair.generate()
        await alice.send(bob.address, b"forged", key=eve)
        await alice.send(bob.address, b"good")
        message = await bob.receive()
        assert message.payload == b"good"
        await bob.send_receipt(message.prev_hash, key=eve)
        await bob.send_receipt(bytes(32))
        await bob.barrier()
        assert (devnet.stats.receipts, devnet.stats.forged) == (0, 2)

    async def test_a_destination_that_is_no_address_is_malformed(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1, verify_signatures=True)
        alice, _ = await pair(make_client, devnet)
        frame = pb.OutboundMessage(dests=["nobody"], signatures=[bytes(64)], payloads=[b"x"])
        await alice.websocket.send_bytes(
            pb.ClientMessage(message=frame.SerializeToString()).SerializeToString()
        )
        await alice.barrier()
        assert devnet.stats.malformed == 1

    async def test_receipts_nobody_asked_for_are_ignored(
        self, make_devnet: MakeDevnet, make_client: MakeClient
    ) -> None:
        devnet = await make_devnet(nodes=1)
        alice, _ = await pair(make_client, devnet)
        await alice.send_receipt(bytes(32))
        await alice.barrier()
        assert (devnet.stats.receipts, devnet.stats.forged, devnet.stats.malformed) == (0, 0, 0)
