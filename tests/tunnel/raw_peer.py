"""The other side without a Link: it speaks the protocol by hand, so it can break each rule of it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet import UDP as UDP_HEADER

from nconnect.host.tun import OFFLOAD_STEPS
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.session import Session
from nconnect.packet import virtio
from nconnect.packet.batch import BatchWriter, iter_packets
from nconnect.secure.channel import ControlChannel
from nconnect.secure.data import TO_PROVIDER, TO_USER, Opener, Sealer
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, frames
from nconnect.tunnel.link import OVERLAY_SESSION

from ..packet.packets import partial, plain

UDP = 17

# What a side says of its kernel, and the offloads that this one has.
KERNELS = (
    pytest.param(frozenset({control.CAPABILITY_USO}), OFFLOAD_STEPS[0], id="takes super-packets"),
    pytest.param(frozenset[str](), OFFLOAD_STEPS[1], id="does not"),
)


def udp_packet(source: bytes, destination: bytes, payload: bytes = b"payload") -> bytes:
    """A finished IPv4 packet behind a plain virtio header; its checksums are left to nobody to check."""
    size = 28 + len(payload)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, UDP, 0, source, destination)
    return virtio.PLAIN + ip + struct.pack("!HHHH", 7004, 7004, size - 20, 0) + payload


def udp_layers(source: bytes, destination: bytes, payload: bytes) -> Any:
    addresses = IP(src=str(ip_address(source)), dst=str(ip_address(destination)), flags="DF")
    return addresses / UDP_HEADER(sport=7004, dport=7004) / payload


def sent_at_once(source: bytes, destination: bytes, payloads: Sequence[bytes]) -> bytes:
    """Datagrams of one call (UDP_SEGMENT), as a kernel hands them over; the last may be shorter."""
    layers = udp_layers(source, destination, b"".join(payloads))
    return partial(layers, gso_type=virtio.GSO_UDP_L4, gso_size=len(payloads[0]))


def sent_one_by_one(source: bytes, destination: bytes, payloads: Sequence[bytes]) -> list[bytes]:
    """The same datagrams, each finished."""
    packets = []
    for number, payload in enumerate(payloads):
        layers = udp_layers(source, destination, payload)
        layers.id += number
        packets.append(plain(layers))
    return packets


def batch(packets: Iterable[bytes]) -> bytes:
    """Packets as they are inside a sealed frame."""
    writer = BatchWriter(1 << 20)
    assert all(writer.add(packet) for packet in packets)
    return bytes(writer.take())


class RawPeer:
    """One end of a session: `await handshake()`, then `send`, `send_packets`, `session.send(anything)`."""

    def __init__(self, session: Session, identity: Identity, *, server: bool = False) -> None:
        self.session = session
        self.channel = ControlChannel(identity, server=server, peer_public_key=session.remote_public_key)
        self._order = frames.ControlOrder()
        self.next_number = 0
        """Of the next control frame."""
        self._server = server
        self._messages: list[bytes] = []
        self._data_frames: list[bytes] = []

    @classmethod
    async def dial(cls, client: MultiClient, remote: str) -> RawPeer:
        """A user who has made the TLS handshake with `remote`."""
        peer = cls(await client.dial(remote, OVERLAY_SESSION), Identity(client.key.seed))
        await peer.handshake()
        return peer

    async def handshake(self) -> None:
        self.channel.start()
        await self.flush()
        while not self.channel.established:
            await self._read()
        ours, theirs = (TO_USER, TO_PROVIDER) if self._server else (TO_PROVIDER, TO_USER)
        self.sealer = Sealer(self.channel.export, ours)
        self.opener = Opener(self.channel.export, theirs)

    async def flush(self) -> None:
        """Send what TLS has to say."""
        pieces = frames.control_frames(self.next_number, self.channel.data_to_send(), self.session.send_mtu)
        self.next_number += len(pieces)
        for piece in pieces:
            await self.session.send(piece)

    async def send(self, *messages: control.ControlMessage) -> None:
        for message in messages:
            self.channel.send(control.encode(message))
        await self.flush()

    async def send_bytes(self, *messages: bytes) -> None:
        """Control messages that may be none."""
        for message in messages:
            self.channel.send(message)
        await self.flush()

    def seal(self, plaintext: bytes) -> bytes:
        """A data frame."""
        return self.sealer.seal(plaintext, 0.0, frames.DATA_PREFIX)

    async def send_packets(self, *packets: bytes) -> None:
        await self.session.send(self.seal(batch(packets)))

    async def receive(self) -> control.ControlMessage | None:
        """The next control message; data frames are put aside."""
        while not self._messages:
            await self._read()
        return control.decode(self._messages.pop(0))

    async def receive_data_frame(self) -> bytes:
        """The next data frame, still sealed; control messages are put aside."""
        while not self._data_frames:
            await self._read()
        return self._data_frames.pop(0)

    async def receive_packets(self) -> list[bytes]:
        """The packets of the next data frame."""
        frame = await self.receive_data_frame()
        return list(map(bytes, iter_packets(self.opener.open(memoryview(frame)[1:]))))

    async def _read(self) -> None:
        frame = await self.session.receive()
        if frame[0] == frames.DATA:
            self._data_frames.append(frame)
        else:
            self._messages += self.channel.receive(self._order.receive(frame))
            await self.flush()
