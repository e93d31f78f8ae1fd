from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.inet6 import IPv6ExtHdrHopByHop

from nconnect.errors import DecodeError
from nconnect.packet import virtio

from .packets import fragments, ip_layer, partial, plain, super_tcp, super_udp


def altered(packet: bytes, **fields: int) -> bytes:
    return virtio.decode(packet)._replace(**fields).encode() + packet[virtio.HEADER_SIZE :]


def with_ip(packet: bytes, at: int, value: int) -> bytes:
    data = bytearray(packet)
    data[virtio.HEADER_SIZE + at] = value
    return bytes(data)


def test_golden_header() -> None:
    header = virtio.Header(1, virtio.GSO_TCPV4, 54, 1448, 20, 16)
    assert header.encode().hex() == "01013600a80514001000"
    assert virtio.decode(header.encode()) == header
    assert virtio.Header().encode() == virtio.PLAIN


def test_a_header_cut_off() -> None:
    with pytest.raises(DecodeError, match="9 bytes"):
        virtio.decode(bytes(9))


@pytest.mark.parametrize("version", [4, 6])
def test_what_kernels_send_passes(version: int) -> None:
    for packet in (
        plain(ip_layer(version) / TCP() / b"x"),
        partial(ip_layer(version) / TCP() / b"x"),
        partial(ip_layer(version) / UDP() / b""),
        super_tcp(version, bytes(60000), 1448),
        super_tcp(version, bytes(60000), 1448, options=[("Timestamp", (1, 2))]),
        super_tcp(version, bytes(20000), 36),
        super_udp(version, bytes(60000), 1400),
        altered(super_tcp(version, bytes(60000), 1448), hdr_len=1500),
        altered(plain(ip_layer(version) / TCP()), flags=virtio.F_DATA_VALID),
    ):
        virtio.check(packet)
        virtio.check(memoryview(packet))
    ecn = super_tcp(version, bytes(9000), 1448)
    virtio.check(altered(ecn, gso_type=virtio.decode(ecn).gso_type | virtio.GSO_ECN))


TCP4 = super_tcp(4, bytes(9000), 1448)
TCP6 = super_tcp(6, bytes(9000), 1448)
UDP4 = super_udp(4, bytes(9000), 1400)


@pytest.mark.parametrize(
    ("packet", "message"),
    [
        pytest.param(altered(TCP4, gso_size=0), "segments of 0", id="no segment size"),
        pytest.param(altered(TCP4, gso_size=1), "segments of 1", id="9,000 segments of one byte"),
        pytest.param(altered(UDP4, gso_size=70), "segments of 70", id="more datagrams than a kernel sends"),
        pytest.param(super_tcp(4, b"", 1448), "0 bytes", id="nothing to cut"),
        pytest.param(altered(TCP4, hdr_len=60000), "60000 bytes of headers", id="headers beyond the end"),
        pytest.param(altered(TCP4, gso_type=virtio.GSO_TCPV6), "GSO type 4", id="v6 type over v4"),
        pytest.param(altered(TCP6, gso_type=virtio.GSO_TCPV4), "GSO type 1", id="v4 type over v6"),
        pytest.param(altered(TCP4, gso_type=virtio.GSO_UDP_L4), "GSO type 5", id="UDP type over TCP"),
        pytest.param(altered(UDP4, gso_type=virtio.GSO_TCPV4), "GSO type 1", id="TCP type over UDP"),
        pytest.param(altered(TCP4, gso_type=3), "GSO type 3", id="UFO"),
        pytest.param(altered(TCP4, flags=0), "without a partial checksum", id="GSO, checksum done"),
        pytest.param(altered(TCP4, flags=4), "unknown flags", id="unknown flag"),
        pytest.param(altered(TCP4, flags=5), "unknown flags", id="unknown flag beside a known one"),
        pytest.param(altered(TCP4, csum_start=65000), "at 65000", id="checksum beyond the end"),
        pytest.param(altered(TCP4, csum_start=0, csum_offset=12), "at 0", id="would write the source"),
        pytest.param(altered(TCP4, csum_offset=2), "20.2", id="would write the port"),
        pytest.param(altered(UDP4, csum_offset=16), "20.16", id="TCP's offset in UDP"),
        pytest.param(with_ip(TCP4, 9, 1), "protocol 1", id="ICMP"),
        pytest.param(with_ip(TCP4, 6, 0x20), "fragment", id="first fragment"),
        pytest.param(with_ip(TCP4, 7, 1), "fragment", id="later fragment"),
        pytest.param(with_ip(TCP4, 0, 0x44), "bad IPv4 header", id="IPv4 header too short"),
        pytest.param(with_ip(TCP4, 0, 0x55), "IP version 5", id="IP version"),
        pytest.param(
            with_ip(super_tcp(4, b"x", 9), 32, 0xF0), r"20\+60 bytes", id="TCP header beyond the end"
        ),
        pytest.param(with_ip(TCP4, 32, 0x40), "TCP header of 16 bytes", id="TCP header too short"),
        pytest.param(TCP4[:-1], "9040 by IP, 9039 came", id="a byte is missing"),
        pytest.param(TCP6 + b"x", "9060 by IP, 9061 came", id="a byte too many"),
        pytest.param(TCP4[:35], "cut off", id="cut off in TCP's header"),
        pytest.param(TCP4[:15], "cut off", id="cut off in IP's header"),
        pytest.param(virtio.PLAIN[:4], "cut off", id="cut off in the virtio header"),
    ],
)
def test_hostile_headers_are_refused(packet: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        virtio.check(packet)


def test_packets_that_have_to_be_finished_by_their_sender() -> None:
    behind_extension = partial(ip_layer(6) / TCP() / b"x")
    extension = plain(ip_layer(6) / IPv6ExtHdrHopByHop() / TCP() / b"x")
    header = virtio.decode(behind_extension)._replace(csum_start=48).encode()
    with pytest.raises(DecodeError):
        virtio.check(header + extension[virtio.HEADER_SIZE :])
    virtio.check(plain(ip_layer(4) / ICMP()))
    for piece in fragments(ip_layer(4) / UDP() / bytes(3000), 1400):
        virtio.check(plain(piece))


headers: st.SearchStrategy[Any] = st.builds(
    virtio.Header,
    flags=st.integers(0, 7),
    gso_type=st.sampled_from([0, 1, 3, 4, 5, 0x81, 0x84, 255]),
    hdr_len=st.one_of(st.integers(0, 100), st.integers(0, 65535)),
    gso_size=st.integers(0, 2000),
    csum_start=st.sampled_from([0, 19, 20, 24, 40, 41, 65535]),
    csum_offset=st.sampled_from([0, 6, 16, 65535]),
)


@given(st.binary(max_size=200))
def test_random_bytes_raise_decode_errors_only(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        virtio.check(data)


@given(headers, st.sampled_from([TCP4, TCP6, UDP4]), st.integers(0, 9200))
def test_random_headers_in_front_of_real_packets(header: virtio.Header, packet: bytes, size: int) -> None:
    with contextlib.suppress(DecodeError):
        virtio.check((header.encode() + packet[virtio.HEADER_SIZE :])[:size])
