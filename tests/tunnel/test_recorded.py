"""Forward secrecy: who records what relays carry, and steals both NKN keys later, still cannot read it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterator

import pytest
import pytest_asyncio

from nconnect.devnet.client import Client
from nconnect.devnet.relay import Relay
from nconnect.errors import CryptoError, DecodeError, ProtocolError
from nconnect.ncp import packet as ncp_packet
from nconnect.nkn import envelope, messages
from nconnect.nkn.keys import KeyPair
from nconnect.secure.channel import ControlChannel
from nconnect.secure.data import TO_PROVIDER, TO_USER, Opener
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, frames
from nconnect.tunnel.frames import ControlOrder
from nconnect.tunnel.link import OVERLAY_SESSION, Link

from ..nkn.waiting import soon, until
from .conftest import MakeClient
from .raw_peer import udp_packet

USER, HOST = bytes([100, 64, 7, 2]), bytes([192, 168, 77, 20])
MARKER = b"a secret that nobody else shall read"


class Recording:
    """What relays carried between two clients, opened with the seeds of both."""

    def __init__(self, carried: list[bytes], user: KeyPair, provider: KeyPair) -> None:
        self.user, self.provider = user, provider
        self._shared = user.shared_key(provider.public_key)
        packets: dict[tuple[bytes, int], bytes] = {}
        for frame in carried:
            message = messages.decode_frame(frame)
            if not isinstance(message, messages.Outbound):
                continue
            for index, dest in enumerate(message.dests):
                for sequence, data in self._packets(message.payload_for(index)):
                    packets[messages.public_key_of(dest), sequence] = data
        # A message of the session is a packet, and a frame of the link.
        self.frames = [data for _, data in sorted(packets.items())]
        self.of_user = [data for (to, _), data in sorted(packets.items()) if to == provider.public_key]

    def _packets(self, sealed: bytes) -> Iterator[tuple[int, bytes]]:
        content, encrypted = envelope.open_envelope(sealed, self._shared)
        assert encrypted
        payload = envelope.decode_payload(content)
        if payload.type is envelope.PayloadType.SESSION:
            packet = ncp_packet.decode(payload.data)
            if packet.data:
                yield packet.sequence_id, packet.data

    def data_frames(self) -> list[bytes]:
        return [frame[1:] for frame in self.frames if frame[0] == frames.DATA]

    def stolen(self) -> Iterator[bytes]:
        """All secrets that follow from both seeds."""
        for key in (self.user, self.provider):
            yield key.seed
            yield hashlib.sha512(key.seed).digest()[:32]
        yield self._shared
        yield hashlib.sha256(self._shared).digest()


@pytest_asyncio.fixture
async def recording(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Of a link over which a user says something by packet and by control message."""
    carried: list[bytes] = []
    receive = Relay.receive

    def record(relay: Relay, sender: Client, node: int, frame: memoryview) -> None:
        carried.append(bytes(frame))
        receive(relay, sender, node, frame)

    monkeypatch.setattr(Relay, "receive", record)
    user, provider = await make_client("user"), await make_client()
    listener = provider.listen(config=OVERLAY_SESSION)
    ends = await soon(asyncio.gather(user.dial(provider.address, OVERLAY_SESSION), listener.accept()))
    ours, theirs = await soon(
        asyncio.gather(
            Link.open(ends[0], Identity(user.key.seed), server=False),
            Link.open(ends[1], Identity(provider.key.seed), server=True),
        )
    )
    ours.queue(udp_packet(USER, HOST, MARKER * 20))
    ours.flush()
    ours.send(control.Hello(name=MARKER.decode(), invite_token=MARKER))
    assert isinstance(await soon(theirs.receive()), control.Hello)
    await until(lambda: theirs.bytes_in > 20 * len(MARKER))
    return Recording(carried, user.key, provider.key)


async def test_nkn_s_envelope_hides_nothing_from_who_has_the_keys(recording: Recording) -> None:
    """What follows is no accident of keys that fit nothing."""
    kinds = {frame[0] for frame in recording.frames}
    assert kinds == {frames.CONTROL, frames.DATA}
    handshake = b"".join(recording.of_user)
    assert b"\x16\x03\x01" in handshake, "TLS ClientHello"
    assert sum(map(len, recording.data_frames())) > 20 * len(MARKER)


async def test_nothing_that_was_said_is_in_it(recording: Recording) -> None:
    everything = b"".join(recording.frames)
    for secret in (MARKER, MARKER[:16], recording.user.seed, recording.provider.seed):
        assert secret not in everything


async def test_no_key_that_follows_from_the_stolen_ones_opens_a_batch(recording: Recording) -> None:
    for secret in recording.stolen():

        def export(context: bytes, length: int, secret: bytes = secret) -> bytes:
            return hmac.digest(secret, context, "sha512")[:length]

        for direction in (TO_USER, TO_PROVIDER):
            for frame in recording.data_frames():
                with pytest.raises((CryptoError, DecodeError)):
                    Opener(export, direction).open(frame)


async def test_the_recorded_handshake_is_of_no_use_a_second_time(recording: Recording) -> None:
    """Even to who answers it with the provider's own identity: the keys were made of what nobody kept."""
    impostor = ControlChannel(
        Identity(recording.provider.seed), server=True, peer_public_key=recording.user.public_key
    )
    impostor.start()
    order = ControlOrder()
    stream = [order.receive(frame) for frame in recording.of_user if frame[0] == frames.CONTROL]
    with pytest.raises((ProtocolError, CryptoError)):
        for piece in stream:
            assert impostor.receive(piece) == []
    assert not impostor.established
