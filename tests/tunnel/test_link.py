"""Links over a real network, with friends and with enemies at the other end."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from nconnect import ncp
from nconnect.errors import ClosedError, CryptoError, DialTimeoutError, ProtocolError
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.packet.batch import iter_packets
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, frames
from nconnect.tunnel import link as link_module
from nconnect.tunnel.link import MAX_CONTROL_QUEUE, MIN_SESSION_MTU, OVERLAY_SESSION, Link

from ..nkn.waiting import soon, until
from .conftest import MakeClient
from .raw_peer import RawPeer, batch, sent_at_once, sent_one_by_one, udp_packet

USER, HOST = bytes([100, 64, 0, 2]), bytes([192, 168, 1, 20])
OTHER = bytes([100, 64, 0, 3])
PACKET = udp_packet(USER, HOST)


class Received:
    """What a link hands up."""

    def __init__(self, link: Link) -> None:
        self.packets: list[bytes] = []
        self.errors: list[Exception | None] = []
        link.on_batch = lambda data: self.packets.extend(map(bytes, iter_packets(data)))
        link.on_closed = self.errors.append
        self._bad: list[Exception] = []
        link.on_bad_frame = self._bad.append

    @property
    def bad_frames(self) -> int:
        """Data frames that were dropped."""
        return len(self._bad)


@pytest.fixture
async def user(make_client: MakeClient) -> MultiClient:
    return await make_client("up")


@pytest.fixture
async def provider(make_client: MakeClient) -> MultiClient:
    return await make_client()


async def sessions(
    user: MultiClient, provider: MultiClient, theirs: ncp.Config = OVERLAY_SESSION
) -> tuple[Session, Session]:
    """The user's and the provider's end; `theirs` is what the user asks for."""
    listener = provider.listen(config=OVERLAY_SESSION)
    try:
        return await soon(asyncio.gather(user.dial(provider.address, theirs), listener.accept()))
    finally:
        listener.close()


async def links(user: MultiClient, provider: MultiClient) -> tuple[Link, Link]:
    ends = await sessions(user, provider)
    return await soon(
        asyncio.gather(
            Link.open(ends[0], Identity(user.key.seed), server=False),
            Link.open(ends[1], Identity(provider.key.seed), server=True),
        )
    )


async def with_raw_user(user: MultiClient, provider: MultiClient) -> tuple[RawPeer, Link]:
    """A user of whom anything may come, and the provider's link to it."""
    ends = await sessions(user, provider)
    peer = RawPeer(ends[0], Identity(user.key.seed))
    link, _ = await soon(
        asyncio.gather(Link.open(ends[1], Identity(provider.key.seed), server=True), peer.handshake())
    )
    return peer, link


async def is_alive(peer: RawPeer, link: Link, received: Received) -> bool:
    """Whether a packet still goes through."""
    before = len(received.packets)
    await peer.send_packets(PACKET)
    await until(lambda: len(received.packets) > before or link.closed)
    return not link.closed


# --- between friends ---


async def test_packets_both_ways(user: MultiClient, provider: MultiClient) -> None:
    ours, theirs = await links(user, provider)
    at_user, at_provider = Received(ours), Received(theirs)
    there = [udp_packet(USER, HOST, bytes([i]) * 1000) for i in range(100)]
    back = [udp_packet(HOST, USER, bytes([i]) * 500) for i in range(50)]
    for packet in there:
        ours.queue(packet)
    for packet in back:
        theirs.queue(packet)
    assert ours.flush()
    assert theirs.flush()
    await until(lambda: len(at_provider.packets) == 100 and len(at_user.packets) == 50)
    assert at_provider.packets == there
    assert at_user.packets == back
    assert ours.bytes_out == theirs.bytes_in > 100_000
    assert at_provider.bad_frames == at_user.bad_frames == 0


async def test_datagrams_sent_at_once_cross_whole_to_who_can_cut_them(
    user: MultiClient, provider: MultiClient
) -> None:
    ours, theirs = await links(user, provider)
    at_user, at_provider = Received(ours), Received(theirs)
    payloads = [bytes([number]) * 300 for number in range(4)] + [b"the last is shorter"]
    ours.peer_takes_uso = True
    ours.queue(sent_at_once(USER, HOST, payloads))
    theirs.queue(sent_at_once(HOST, USER, payloads))
    assert ours.flush()
    assert theirs.flush()
    await until(lambda: len(at_provider.packets) == 1 and len(at_user.packets) == len(payloads))
    assert at_provider.packets == [sent_at_once(USER, HOST, payloads)]
    assert at_user.packets == sent_one_by_one(HOST, USER, payloads)


async def test_nothing_readable_is_left_where_nkn_s_envelope_is_opened(
    user: MultiClient, provider: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a relay recorded, and then opened with both stolen NKN keys, is these frames."""
    recorded: list[bytes] = []
    send = Session.try_send

    def record(session: Session, frame: bytes) -> bool:
        recorded.append(frame)
        return send(session, frame)

    monkeypatch.setattr(Session, "try_send", record)
    ours, theirs = await links(user, provider)
    received, marker = Received(theirs), b"a secret that nobody else shall read"
    ours.queue(udp_packet(USER, HOST, marker * 20))
    ours.flush()
    ours.send(control.Hello(name=marker.decode()))
    await until(lambda: bool(received.packets))
    assert isinstance(await soon(theirs.receive()), control.Hello)
    assert marker in received.packets[0]
    assert len(b"".join(recorded)) > 20 * len(marker)
    assert marker not in b"".join(recorded)


async def test_who_is_there_and_with_what_keys(user: MultiClient, provider: MultiClient) -> None:
    ours, theirs = await links(user, provider)
    assert ours.key_exchange_group == theirs.key_exchange_group == "X25519MLKEM768"
    assert (ours.remote_address, ours.remote_public_key) == (provider.address, provider.key.public_key)
    assert (theirs.remote_address, theirs.remote_public_key) == (user.address, user.key.public_key)


async def test_control_messages_and_goodbye(user: MultiClient, provider: MultiClient) -> None:
    ours, theirs = await links(user, provider)
    ours.send(control.Hello(name="laptop"))
    hello = await soon(theirs.receive())
    assert isinstance(hello, control.Hello)
    assert hello.name == "laptop"
    await soon(theirs.close("the provider stopped"))
    assert await soon(ours.receive()) == control.Bye("the provider stopped")
    with pytest.raises(ClosedError):
        await soon(ours.receive())
    with pytest.raises(ClosedError):
        await soon(ours.receive())
    ours.send(control.Ping(1))  # to nobody, without harm
    await soon(ours.close())


async def test_a_backlog_tells_when_there_is_room(user: MultiClient, provider: MultiClient) -> None:
    ours, theirs = await links(user, provider)
    received = Received(theirs)
    room = asyncio.Event()
    ours.on_room = room.set
    sent = 0
    packet = udp_packet(USER, HOST, bytes(60_000))
    while ours.flush():
        ours.queue(packet)
        sent += 1
        assert sent < 10_000
    await soon(room.wait())
    assert ours.flush()
    await until(lambda: len(received.packets) == sent)


async def test_who_sends_little_goes_before_a_backlog(user: MultiClient, provider: MultiClient) -> None:
    ours, theirs = await links(user, provider)
    received = Received(theirs)
    bulk = [udp_packet(USER, HOST, bytes([number]) * 60_000) for number in range(20)]
    while ours.flush():  # until the session takes no more
        ours.queue(bulk[0])
    for packet in bulk[1:]:
        ours.queue(packet)
    ours.queue(udp_packet(OTHER, HOST, b"ping"))
    await until(lambda: bulk[-1] in received.packets)
    place = received.packets.index(udp_packet(OTHER, HOST, b"ping"))
    assert place < received.packets.index(bulk[5])


async def test_pings_measure_and_prove_life(
    user: MultiClient, provider: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "PING_INTERVAL", 0.02)
    ours, theirs = await links(user, provider)
    ours.start_pings()
    theirs.start_pings()
    await until(lambda: ours.rtt is not None and theirs.rtt is not None)
    assert ours.rtt is not None
    assert 0 < ours.rtt < 5


# --- the wrong peer ---


async def test_a_peer_with_another_key_than_its_address(user: MultiClient, provider: MultiClient) -> None:
    """A relay that plays the provider has no better choice than this."""
    ends = await sessions(user, provider)
    impostor = KeyPair.generate()
    at_user, at_provider = await soon(
        asyncio.gather(
            Link.open(ends[0], Identity(user.key.seed), server=False),
            Link.open(ends[1], Identity(impostor.seed), server=True),
            return_exceptions=True,
        )
    )
    assert isinstance(at_user, CryptoError)
    assert impostor.public_key.hex() in str(at_user)
    assert provider.key.public_key.hex() in str(at_user)
    assert isinstance(at_provider, ClosedError | CryptoError)
    assert ends[0].closed
    await until(lambda: ends[1].closed)


async def test_a_user_with_another_key_than_its_address(user: MultiClient, provider: MultiClient) -> None:
    ends = await sessions(user, provider)
    impostor = RawPeer(ends[0], Identity(KeyPair.generate().seed))
    opening = asyncio.create_task(Link.open(ends[1], Identity(provider.key.seed), server=True))
    handshake = asyncio.create_task(impostor.handshake())
    with pytest.raises(CryptoError, match=user.key.public_key.hex()):
        await soon(opening)
    await asyncio.gather(handshake, return_exceptions=True)
    await until(lambda: ends[0].closed)


async def test_an_official_client_is_told_apart(user: MultiClient, provider: MultiClient) -> None:
    """The SDKs announce 1024 bytes: not one packet of ours fits."""
    ends = await sessions(user, provider, ncp.Config(mode=ncp.Mode.MESSAGE, mtu=1024))
    with pytest.raises(ProtocolError, match=f"takes messages of 1024 bytes, {MIN_SESSION_MTU} are needed"):
        await Link.open(ends[1], Identity(provider.key.seed), server=True)
    await until(lambda: ends[0].closed)


async def test_a_peer_that_says_nothing(
    user: MultiClient, provider: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "HANDSHAKE_TIMEOUT", 0.1)
    ends = await sessions(user, provider)
    with pytest.raises(DialTimeoutError, match="did not finish the TLS handshake"):
        await soon(Link.open(ends[1], Identity(provider.key.seed), server=True))
    await until(lambda: ends[0].closed)


async def test_a_peer_that_falls_silent(
    user: MultiClient, provider: MultiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session lives, its packets are acknowledged; but nobody behind it proves to be there."""
    monkeypatch.setattr(link_module, "PING_INTERVAL", 0.02)
    monkeypatch.setattr(link_module, "SILENCE_TIMEOUT", 0.1)
    _, link = await with_raw_user(user, provider)
    link.start_pings()
    with pytest.raises(DialTimeoutError, match="no sign of life"):
        await soon(link.receive())
    assert link.closed


# --- the wrong bytes ---


def flipped(frame: bytes, choice: random.Random) -> bytes:
    position = choice.randrange(1, len(frame))
    return frame[:position] + bytes([frame[position] ^ 1 << choice.randrange(8)]) + frame[position + 1 :]


Damage = Callable[[bytes, random.Random], bytes]
DATA_DAMAGE: dict[str, Damage] = {
    "nothing but a type": lambda frame, choice: frame[:1],
    "cut off in its header": lambda frame, choice: frame[: choice.randrange(2, 10)],
    "cut off in its tag": lambda frame, choice: frame[:-1],
    "with more at its end": lambda frame, choice: frame + b"\0",
    "with one bit changed": flipped,
    "random": lambda frame, choice: frames.DATA_PREFIX + choice.randbytes(choice.randrange(1, 2000)),
    "of another key": lambda frame, choice: frame[:1] + bytes([77]) + frame[2:],
}


@pytest.mark.parametrize("damage", DATA_DAMAGE)
async def test_a_damaged_data_frame_costs_itself(
    user: MultiClient, provider: MultiClient, damage: str
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    choice = random.Random(seed)
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    for _ in range(20):
        await peer.session.send(DATA_DAMAGE[damage](peer.seal(batch([PACKET])), choice))
    await until(lambda: received.bad_frames == 20)
    assert received.packets == []
    assert await is_alive(peer, link, received)


async def test_frames_of_a_later_version_are_skipped(user: MultiClient, provider: MultiClient) -> None:
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    for kind in range(2, 256):
        await peer.session.send(bytes([kind]) + b"whatever")
    assert await is_alive(peer, link, received)
    assert received.bad_frames == 0


async def test_a_replayed_batch_is_dropped(user: MultiClient, provider: MultiClient) -> None:
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    frame = peer.seal(batch([PACKET]))
    for _ in range(3):
        await peer.session.send(frame)
    await until(lambda: received.bad_frames == 2)
    assert received.packets == [PACKET]
    assert await is_alive(peer, link, received)


async def test_a_batch_of_our_own_sent_back_is_dropped(user: MultiClient, provider: MultiClient) -> None:
    """The two directions have different keys."""
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    link.queue(PACKET)
    assert link.flush()
    frame = await soon(peer.receive_data_frame())
    await peer.session.send(frame)
    await until(lambda: received.bad_frames == 1)
    assert received.packets == []
    assert peer.opener.open(memoryview(frame)[1:]) == batch([PACKET])


def control_frame(number: int, body: bytes) -> bytes:
    return bytes([frames.CONTROL]) + number.to_bytes(4, "little") + body


CONTROL_DAMAGE: dict[str, Callable[[int], bytes]] = {
    "random bytes": lambda number: control_frame(number, random.Random(1).randbytes(500)),
    "a TLS record that is not authentic": lambda number: control_frame(number, b"\x17\3\3\0\x20" + bytes(32)),
    "without a number": lambda number: control_frame(number, b"")[:3],
    "from far ahead": lambda number: control_frame(number + 65, b"x"),
    "too large": lambda number: control_frame(number, bytes(frames.MAX_CONTROL_BODY + 1)),
}


@pytest.mark.parametrize("damage", CONTROL_DAMAGE)
async def test_a_damaged_control_frame_ends_its_link_only(
    user: MultiClient,
    provider: MultiClient,
    make_client: MakeClient,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other, other_link = await with_raw_user(await make_client("up"), provider)
    other_received = Received(other_link)
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    await peer.session.send(CONTROL_DAMAGE[damage](peer.next_number))
    with pytest.raises(ProtocolError):
        await soon(link.receive())
    assert len(received.errors) == 1
    await until(lambda: peer.session.closed)
    assert await is_alive(other, other_link, other_received)
    assert not [record for record in caplog.records if record.exc_info], "no traceback"


@pytest.mark.parametrize(
    "message",
    [b"\xff\xff\xff", b"\x0a\xff\x01", control.encode(control.Refused(1, "x"))[:-1]],
    ids=["no protobuf", "a length beyond the end", "cut off"],
)
async def test_a_control_message_that_is_none(
    user: MultiClient, provider: MultiClient, message: bytes
) -> None:
    peer, link = await with_raw_user(user, provider)
    await peer.send_bytes(message)
    with pytest.raises(ProtocolError, match="protobuf"):
        await soon(link.receive())


# --- the wrong amount ---


async def test_a_flood_of_control_messages_ends_the_link(
    user: MultiClient, provider: MultiClient, make_client: MakeClient
) -> None:
    other, other_link = await with_raw_user(await make_client("up"), provider)
    other_received = Received(other_link)
    peer, link = await with_raw_user(user, provider)
    received = Received(link)
    await peer.send(*[control.Hello(name=str(i)) for i in range(MAX_CONTROL_QUEUE + 1)])
    await until(lambda: link.closed)
    (error,) = received.errors
    assert isinstance(error, ProtocolError)
    assert "faster than they can be read" in str(error)
    assert await is_alive(other, other_link, other_received)


async def test_pings_of_who_does_not_listen_end_the_link(user: MultiClient, provider: MultiClient) -> None:
    """Each ping makes an answer; answers that nobody takes must not fill our memory."""
    small = ncp.Config(mode=ncp.Mode.MESSAGE, mtu=OVERLAY_SESSION.mtu, window_size=MIN_SESSION_MTU)
    ends = await sessions(user, provider, small)
    peer = RawPeer(ends[0], Identity(user.key.seed))
    link, _ = await soon(
        asyncio.gather(Link.open(ends[1], Identity(provider.key.seed), server=True), peer.handshake())
    )
    received = Received(link)

    async def flood() -> None:
        for number in range(100):
            await peer.send(*[control.Ping(number)] * 200)

    flooding = asyncio.create_task(flood())
    await until(lambda: link.closed)
    assert "does not take the control messages" in str(received.errors[0])
    await asyncio.gather(flooding, return_exceptions=True)


async def test_a_control_channel_that_the_peer_closes(
    user: MultiClient,
    provider: MultiClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TLS allows it; a link without it is of no use, and ends before its next ping trips over it."""
    monkeypatch.setattr(link_module, "PING_INTERVAL", 0.02)
    peer, link = await with_raw_user(user, provider)
    link.start_pings()
    peer.channel.close()
    await peer.flush()
    with pytest.raises(ClosedError, match="closed the control channel"):
        await soon(link.receive())
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("whose", [0, 1], ids=["ours", "theirs"])
async def test_a_session_that_breaks(user: MultiClient, provider: MultiClient, whose: int) -> None:
    ours, theirs = await links(user, provider)
    (ours, theirs)[whose].session.abort()
    for link in (ours, theirs):
        with pytest.raises(ClosedError):
            await soon(link.receive())
        assert link.closed
        link.queue(PACKET)  # into the void, as with a cut wire
        assert link.flush()


async def test_the_client_below_is_closed(stack: AsyncExitStack, make_client: MakeClient) -> None:
    user, provider = await make_client("up"), await make_client()
    ours, theirs = await links(user, provider)
    await soon(provider.close())
    for link in (ours, theirs):
        with pytest.raises(ClosedError):
            await soon(link.receive())
