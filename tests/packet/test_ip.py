from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrHopByHop

from nconnect.errors import DecodeError
from nconnect.packet import ip

from .packets import LAN4, LAN6, USER4, USER6, fragments, ip_layer, plain

NAMES = {4: (USER4, LAN4, socket.AF_INET), 6: (USER6, LAN6, socket.AF_INET6)}


@pytest.mark.parametrize("version", [4, 6])
def test_addresses(version: int) -> None:
    packet = plain(ip_layer(version) / UDP(sport=1, dport=2) / b"hello")
    source, destination, family = NAMES[version]
    assert ip.source(packet) == socket.inet_pton(family, source)
    assert ip.destination(memoryview(packet)) == socket.inet_pton(family, destination)
    assert ip.addresses(packet) == (ip.source(packet), ip.destination(packet))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("layer", "protocol"), [(TCP, 6), (UDP, 17)])
def test_flow_has_the_ports(version: int, layer: type, protocol: int) -> None:
    packet = plain(ip_layer(version) / layer(sport=40000, dport=443))
    assert ip.flow(packet) == (*ip.addresses(packet), protocol, 40000, 443)


def test_flow_behind_ip_options() -> None:
    packet = plain(ip_layer(4, options=[b"\x01" * 4]) / TCP(sport=7, dport=8))
    assert ip.flow(packet)[3:] == (7, 8)


def test_flow_without_ports() -> None:
    assert ip.flow(plain(ip_layer(4) / ICMP()))[2:] == (1, 0, 0)
    assert ip.flow(plain(ip_layer(6) / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2)))[2:] == (0, 0, 0)
    first, second = fragments(ip_layer(4) / UDP(sport=1, dport=2) / bytes(2000), 1400)
    assert ip.flow(plain(first))[2:] == ip.flow(plain(second))[2:] == (17, 0, 0)


@pytest.mark.parametrize("version", [4, 6])
def test_a_wrong_length_is_refused(version: int) -> None:
    packet = plain(ip_layer(version) / UDP() / b"hello")
    with pytest.raises(DecodeError, match=r"says (33|53) bytes and has (32|52)"):
        ip.source(packet[:-1])
    with pytest.raises(DecodeError, match="bytes and has"):
        ip.source(packet + b"\0")


def test_other_versions_and_short_headers_are_refused() -> None:
    with pytest.raises(DecodeError, match="IP version 5"):
        ip.source(bytes(10) + b"\x50" + bytes(30))
    with pytest.raises(DecodeError, match="cut off after 0 bytes"):
        ip.source(bytes(10))
    with pytest.raises(DecodeError, match="cut off after 12 bytes"):
        ip.destination(bytes(10) + b"\x45" + bytes(11))
    with pytest.raises(DecodeError, match="IPv4 header of 16 bytes"):
        ip.source(bytes(10) + b"\x44\0\0\x14" + bytes(16))


@given(st.binary(max_size=100))
def test_random_bytes_raise_decode_errors_only(data: bytes) -> None:
    for packet in (data, bytes(10) + data):
        for function in (ip.source, ip.destination, ip.flow):
            with contextlib.suppress(DecodeError):
                function(packet)
