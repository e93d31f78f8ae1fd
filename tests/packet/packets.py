"""Packets for the tests of this folder, built by scapy, which knows nothing of nconnect."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6

from nconnect.packet import virtio

USER4, LAN4 = "100.64.0.2", "192.168.1.20"
USER6, LAN6 = "fd00::2", "2001:db8::20"


def ip_layer(version: int, **fields: Any) -> Any:
    if version == 4:
        return IP(src=USER4, dst=LAN4, **fields)
    return IPv6(src=USER6, dst=LAN6, **fields)


def plain(layers: Any) -> bytes:
    """A finished packet: scapy fills in lengths and checksums."""
    return virtio.PLAIN + bytes(layers)


def is_plain(packet: bytes) -> bool:
    """Whether nothing is left to do to `packet`: no segments to cut, no checksum to complete."""
    return not packet[0] & virtio.F_NEEDS_CSUM and packet[1] == virtio.GSO_NONE


def partial(layers: Any, **header: int) -> bytes:
    """A packet as a kernel hands it over: a TCP or UDP checksum that holds the pseudo header's sum only."""
    data = bytearray(bytes(layers))
    version = data[0] >> 4
    transport = (data[0] & 15) * 4 if version == 4 else 40
    protocol = data[9] if version == 4 else data[6]
    addresses = bytes(data[12:20]) if version == 4 else bytes(data[8:40])
    total = protocol + len(data) - transport
    total += sum(int.from_bytes(addresses[at : at + 2], "big") for at in range(0, len(addresses), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    offset = virtio.CHECKSUM_OFFSETS[protocol]
    data[transport + offset : transport + offset + 2] = total.to_bytes(2, "big")
    fields = {
        "flags": virtio.F_NEEDS_CSUM,
        "csum_start": transport,
        "csum_offset": offset,
        **header,
    }
    return virtio.Header(**fields).encode() + bytes(data)


def super_tcp(version: int, payload: bytes, mss: int, ip: dict[str, Any] | None = None, **tcp: Any) -> bytes:
    fields = {"sport": 40000, "dport": 443, "seq": 1000, "ack": 5, "flags": "A", **tcp}
    layers = ip_layer(version, **(ip or {})) / TCP(**fields) / payload
    kind = virtio.GSO_TCPV4 if version == 4 else virtio.GSO_TCPV6
    return partial(layers, gso_type=kind, gso_size=mss)


def super_udp(version: int, payload: bytes, size: int) -> bytes:
    layers = ip_layer(version) / UDP(sport=40000, dport=443) / payload
    return partial(layers, gso_type=virtio.GSO_UDP_L4, gso_size=size)


def fragments(layers: Any, size: int) -> list[Any]:
    """The IPv4 fragments of a packet, each with `size` bytes of payload."""
    return list(fragment(layers, fragsize=size))  # type: ignore[no-untyped-call]
