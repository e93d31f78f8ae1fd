"""Messages of a MultiClient over a devnet that checks every signature."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.devnet import Devnet
from nconnect.errors import AddressError, ClosedError, NetworkError, PrivilegeError, ProtocolError, UsageError
from nconnect.nkn import messages, tcp
from nconnect.nkn.client import State
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.inbox import Inbox
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Inbound, Payload, PayloadType
from nconnect.nkn.multiclient import Message, MultiClient

from .conftest import MakeClient, MakeDevnet
from .waiting import PATIENCE, soon, until


async def next_message(client: MultiClient) -> Message:
    async with asyncio.timeout(PATIENCE):
        return await anext(client)


async def echo(client: MultiClient, transform: Callable[[Message], str | bytes | None]) -> None:
    async for message in client:
        await message.reply(transform(message))


def states(client: MultiClient) -> list[State]:
    return [path.state for path in client.paths]


async def until_all_ready(*clients: MultiClient) -> None:
    async with asyncio.timeout(PATIENCE):
        for client in clients:
            await client.wait_paths(len(client.paths))


# --- messages ---


@pytest.mark.parametrize(
    ("data", "reply"),
    [("héllo", "wörld"), (b"\x00\xff", b"\x01"), ("", ""), (b"", b""), ("text", b"binary"), ("text", None)],
)
async def test_a_message_and_its_reply(
    alice: MultiClient, bob: MultiClient, data: str | bytes, reply: str | bytes | None
) -> None:
    sending = asyncio.create_task(alice.send(bob.address, data))
    message = await next_message(bob)
    assert (message.src, message.data, message.encrypted) == (alice.address, data, True)
    await message.reply(reply)
    answer = await sending
    assert answer is not None
    assert (answer.src, answer.data) == (bob.address, reply)


async def test_a_message_that_wants_no_reply(alice: MultiClient, bob: MultiClient) -> None:
    assert await alice.send(bob.address, "hello", no_reply=True) is None
    message = await next_message(bob)
    assert (message.data, message.no_reply) == ("hello", True)
    await message.reply("too much")
    await bob.send(alice.address, "marker", no_reply=True)
    assert (await next_message(alice)).data == "marker"


async def test_each_message_arrives_once(devnet: Devnet, alice: MultiClient, bob: MultiClient) -> None:
    for number in range(50):
        await alice.send(bob.address, str(number), no_reply=True)
    got = sorted([int(str((await next_message(bob)).data)) for _ in range(50)])
    assert got == list(range(50))
    await until(lambda: devnet.stats.delivered >= 200)
    await alice.send(bob.address, "marker", no_reply=True)
    assert (await next_message(bob)).data == "marker"
    assert devnet.stats.forged == devnet.stats.malformed == 0


async def test_one_message_to_several(devnet: Devnet, make_client: MakeClient, alice: MultiClient) -> None:
    others = [await make_client(devnet, f"c{number}") for number in range(3)]
    sending = asyncio.create_task(alice.send([other.address for other in others], "to all"))
    got = [await next_message(other) for other in others]
    assert [message.data for message in got] == ["to all"] * 3
    await got[1].reply("second was first")
    answer = await sending
    assert answer is not None
    assert (answer.src, answer.data) == (others[1].address, "second was first")


async def test_a_node_holds_messages_for_an_absent_client(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient
) -> None:
    key = KeyPair.generate()
    address = f"late.{key.public_key.hex()}"
    await alice.send(address, "not held", no_reply=True)
    await alice.send(address, "held", no_reply=True, max_holding_seconds=60)
    await until(lambda: devnet.held == 4)
    late = await make_client(devnet, "late", key=key)
    assert (await next_message(late)).data == "held"


async def test_no_reply_in_time(alice: MultiClient) -> None:
    absent = KeyPair.generate().public_key.hex()
    with pytest.raises(NetworkError, match=rf"{absent} did not reply in 0\.05 s"):
        await alice.send(absent, "hello?", reply_timeout=0.05)


async def test_a_reply_of_somebody_else_is_not_taken(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    mallory = await make_client(devnet, "mallory")
    sending = asyncio.create_task(alice.send(bob.address, "who are you?"))
    question = await next_message(bob)
    await mallory._send([alice.address], messages.reply_payload("bob!", question.id), encrypt=True)
    await mallory.send(alice.address, "marker", no_reply=True)
    assert (await next_message(alice)).data == "marker"
    assert not sending.done()
    await question.reply("bob")
    answer = await sending
    assert answer is not None
    assert answer.data == "bob"


async def test_unencrypted_messages_are_refused_by_default(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    await alice.send(bob.address, "readable", no_reply=True, encrypt=False)
    await alice.send(bob.address, "private", no_reply=True)
    assert (await next_message(bob)).data == "private"
    careless = await make_client(devnet, "careless", accept_unencrypted=True)
    await alice.send(careless.address, "readable", no_reply=True, encrypt=False)
    message = await next_message(careless)
    assert (message.data, message.encrypted) == ("readable", False)


async def test_a_message_of_the_largest_size(alice: MultiClient, bob: MultiClient) -> None:
    data = bytes(3_999_000)
    await alice.send(bob.address, data, no_reply=True)
    assert (await next_message(bob)).data == data
    with pytest.raises(UsageError, match="larger than NKN carries"):
        await alice.send(bob.address, bytes(4_000_000), no_reply=True)
    with pytest.raises(UsageError, match="larger than NKN carries"):
        await alice.send([bob.address, alice.address], bytes(4_000_000), no_reply=True)


async def test_many_destinations_are_cut_into_frames(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient
) -> None:
    others = [await make_client(devnet, f"c{number}", sub_clients=1) for number in range(3)]
    data = bytes(1_900_000)
    await alice.send([other.address for other in others], data, no_reply=True)
    for other in others:
        assert (await next_message(other)).data == data


async def test_only_addresses_and_names_are_destinations(alice: MultiClient, bob: MultiClient) -> None:
    for bad in ("", "a" * 65, f" .{bob.key.public_key.hex()}"):
        with pytest.raises(AddressError):
            await alice.send(bad, "hello")
    with pytest.raises(UsageError, match="at least one destination"):
        await alice.send([], "hello")
    with pytest.raises(UsageError, match="max_holding_seconds"):
        await alice.send(bob.address, "hello", max_holding_seconds=-1)
    with pytest.raises(UsageError, match="not text"):
        await alice.send(bob.address, "\ud800")

    await bob.account.register_name("bobsname")
    await alice.send("bob.bobsname", "by name", no_reply=True)
    assert (await next_message(bob)).data == "by name"
    with pytest.raises(AddressError, match="neither an NKN address nor a registered name"):
        await alice.send("bob.nobody", "by name")


async def test_a_flood_costs_its_sender_alone(
    devnet: Devnet, make_client: MakeClient, alice: MultiClient, bob: MultiClient
) -> None:
    bob._inbox = Inbox(max_bytes=1_000_000, max_peer_bytes=50_000)
    mallory = await make_client(devnet, "mallory")
    for number in range(100):
        await mallory.send(bob.address, bytes(1000) + bytes([number]), no_reply=True)
    await until(lambda: bob.dropped >= 60)
    await alice.send(bob.address, "me too", no_reply=True)
    got = [await next_message(bob)]
    while got[-1].src == mallory.address:
        got.append(await next_message(bob))
    assert got[-1].data == "me too"
    assert len(got) <= 50


# --- sub-clients ---


async def test_all_sub_clients_come_up(alice: MultiClient) -> None:
    await until_all_ready(alice)
    assert [path.index for path in alice.paths] == [0, 1, 2, 3]
    assert alice.paths[2].address == f"__2__.{alice.address}"


async def test_the_original_client_joins_when_asked(devnet: Devnet, make_client: MakeClient) -> None:
    alone = await make_client(devnet, "alone", sub_clients=0, original=True)
    both = await make_client(devnet, "both", sub_clients=2, original=True)
    await until_all_ready(both)
    assert both.paths[0].address == both.address
    await alone.send(both.address, "hello", no_reply=True)
    message = await next_message(both)
    assert (message.src, message.data) == (alone.address, "hello")


async def test_a_node_dies_and_comes_back(devnet: Devnet, alice: MultiClient, bob: MultiClient) -> None:
    def settled() -> bool:
        """Whether every sub-client is where it belongs; a message to one on the move may be lost."""
        for path in alice.paths + bob.paths:
            node = devnet.responsible(path.address)
            assert node is not None
            if path.state is not State.READY or path.node != devnet.node_info(node, "127.0.0.1").addr:
                return False
        return True

    replying = asyncio.create_task(echo(bob, lambda message: message.data))
    for node in devnet.nodes:
        for change in (devnet.stop_node, devnet.start_node):
            await change(node.index)
            await until(settled)
            answer = await alice.send(bob.address, "still there?")
            assert answer is not None
            assert answer.data == "still there?"
    replying.cancel()


async def test_the_whole_network_goes_and_comes_back(
    make_devnet: MakeDevnet, make_client: MakeClient
) -> None:
    devnet = await make_devnet(nodes=1)
    alice, bob = await make_client(devnet, "alice"), await make_client(devnet, "bob")
    await until_all_ready(alice, bob)
    await devnet.stop_node(0)
    await until(lambda: State.READY not in states(alice) + states(bob))
    # Sent now, it goes out as soon as there is a way.
    sending = asyncio.create_task(alice.send(bob.address, "are we back?", max_holding_seconds=60))
    await until(lambda: all(path.error for path in alice.paths))
    await devnet.start_node(0)
    await (await next_message(bob)).reply("yes")
    answer = await sending
    assert answer is not None
    assert answer.data == "yes"


async def test_a_path_tells_since_when_it_is_gone(make_devnet: MakeDevnet, make_client: MakeClient) -> None:
    """From the first moment on, however often it tries since, and whatever the clock on the wall says."""
    devnet = await make_devnet(nodes=1)
    alice = await make_client(devnet, "alice")
    await until_all_ready(alice)
    assert all(path.was_ready for path in alice.paths)
    stopped = time.monotonic()
    await devnet.stop_node(0)
    await until(lambda: State.READY not in states(alice))
    gone = [path.turned for path in alice.paths]
    assert all(stopped <= moment <= time.monotonic() for moment in gone)
    await until(lambda: all(path.error for path in alice.paths))
    assert [path.turned for path in alice.paths] == gone
    await devnet.start_node(0)
    await until_all_ready(alice)
    assert all(path.turned > moment for path, moment in zip(alice.paths, gone, strict=True))


async def test_every_websocket_carries_the_mark(
    devnet: Devnet, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = []
    plain = tcp.marked_socket

    def record(family: int, kind: int, protocol: int, mark: int) -> socket.socket:
        marks.append(mark)
        return plain(family, kind, protocol, 0)

    monkeypatch.setattr(tcp, "marked_socket", record)
    client = await make_client(devnet, socket_mark=0x4E4B)
    await until_all_ready(client)
    assert set(marks) == {0x4E4B}
    assert len(marks) >= 5


# --- beginning and end ---


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_connect_says_what_was_tried() -> None:
    url = closed_port()
    client = MultiClient(
        KeyPair.generate(), "", ClientConfig(seed_rpc=(url,), connect_timeout=0.2, reconnect_min=0.01)
    )
    with pytest.raises(NetworkError, match=rf"cannot join the NKN network: .*{url}") as caught:
        await client.connect()
    assert str(caught.value).count(url) == 1, "the same problem of four sub-clients is told once"
    with pytest.raises(ClosedError):
        await client.connect()


async def test_connect_gives_up_soon_where_nobody_is() -> None:
    """A wrong seed is told within some attempts, not after ``connect_timeout``."""
    config = ClientConfig(seed_rpc=(closed_port(),), connect_timeout=1000.0)
    with pytest.raises(NetworkError, match=r"connection refused by 127\.0\.0\.1:\d+"):
        await soon(MultiClient(KeyPair.generate(), "", config).connect())


async def test_connect_gives_up_at_once_when_all_are_refused(
    devnet: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyPair, "sign", lambda self, data: bytes(64))
    config = ClientConfig(seed_rpc=(devnet.rpc_url,), connect_timeout=60.0)
    with pytest.raises(NetworkError, match="42003 VERIFY SIGNATURE ERROR"):
        await soon(MultiClient(KeyPair.generate(), "", config).connect())


async def test_connect_without_the_right_to_mark(devnet: Devnet, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> socket.socket:
        raise PrivilegeError("marking a socket (SO_MARK) needs root or CAP_NET_ADMIN")

    monkeypatch.setattr(tcp, "marked_socket", forbidden)
    config = ClientConfig(seed_rpc=(devnet.rpc_url,), socket_mark=1)
    with pytest.raises(PrivilegeError):
        await soon(MultiClient(KeyPair.generate(), "", config).connect())


def test_an_identifier_that_cannot_be() -> None:
    with pytest.raises(AddressError, match="white space"):
        MultiClient(KeyPair.generate(), "my laptop")


async def test_close_ends_whatever_waits(alice: MultiClient, bob: MultiClient) -> None:
    reading = asyncio.create_task(echo(alice, lambda message: None))
    sending = asyncio.create_task(alice.send(bob.address, "never answered"))
    await next_message(bob)
    await alice.close()
    await alice.close()
    await soon(reading)
    with pytest.raises(ClosedError):
        await soon(sending)
    with pytest.raises(ClosedError):
        await alice.send(bob.address, "too late", no_reply=True)
    assert states(alice) == [State.CLOSED] * 4
    with pytest.raises(ClosedError):
        await alice.dial(bob.address)


# --- hostile peers ---


@given(st.binary(max_size=200), st.sampled_from(["plain", "sealed", "payload"]), st.integers(0, 3))
def test_hostile_bytes_raise_only_protocol_errors(data: bytes, layer: str, kind: int) -> None:
    key, peer = KeyPair.from_seed(b"\x01" * 32), KeyPair.from_seed(b"\x02" * 32)

    async def feed() -> None:
        client = MultiClient(key, "", ClientConfig(accept_unencrypted=True))
        client.listen(None)
        envelope = data
        if layer == "sealed":
            envelope = messages.seal(data, peer.shared_key(key.public_key))
        elif layer == "payload":
            payload = Payload(PayloadType(kind), data, data[:8])
            envelope = messages.seal(messages.encode_payload(payload), peer.shared_key(key.public_key))
        for src in (f"__0__.{peer.public_key.hex()}", data.decode(errors="replace")):
            with contextlib.suppress(ProtocolError):
                client.on_inbound(client._clients[0], Inbound(src, envelope))

    asyncio.run(feed())
