"""The segmenter against scapy, which reassembles, and against bytes that the Linux kernel produced."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop

from nconnect.errors import DecodeError
from nconnect.packet import virtio
from nconnect.packet.segment import segment, split

from .packets import ip_layer, is_plain, partial, plain, super_tcp, super_udp
from .test_virtio import TCP4, TCP6, UDP4, altered, headers, with_ip


def parse(packet: bytes) -> Any:
    assert packet[: virtio.HEADER_SIZE] == virtio.PLAIN
    data = packet[virtio.HEADER_SIZE :]
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


LINUX = json.loads((Path(__file__).parent / "linux_segments.json").read_text())["cases"]


@pytest.mark.parametrize("case", LINUX, ids=lambda case: case["name"])
def test_golden_bytes_of_linux(case: dict[str, Any]) -> None:
    packet = bytes.fromhex(case["packet"])
    virtio.check(packet)
    assert [one[virtio.HEADER_SIZE :].hex() for one in segment(packet)] == case["segments"]


def assert_checksums(packet: bytes) -> None:
    """Scapy, asked to fill in lengths and checksums by itself, arrives at the same bytes."""
    again = parse(packet)
    for layer, fields in (
        (IP, ("len", "chksum")),
        (IPv6, ("plen",)),
        (TCP, ("chksum",)),
        (UDP, ("len", "chksum")),
    ):
        if layer in again:
            for field in fields:
                again[layer].delfieldval(field)
    assert plain(again) == packet


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_segments(version: int) -> None:
    payload = bytes(range(256)) * 20
    ip = {"id": 65535} if version == 4 else {}
    packets = segment(super_tcp(version, payload, 1448, ip, seq=2**32 - 1000, flags="FPACE"))
    parsed = [parse(packet) for packet in packets]
    assert [len(one[TCP].payload) for one in parsed] == [1448, 1448, 1448, 776]
    assert b"".join(bytes(one[TCP].payload) for one in parsed) == payload
    assert [one[TCP].seq for one in parsed] == [2**32 - 1000, 448, 1896, 3344]
    assert [str(one[TCP].flags) for one in parsed] == ["AEC", "AE", "AE", "FPAE"]
    assert {one[TCP].ack for one in parsed} == {5}
    if version == 4:
        assert [one[IP].id for one in parsed] == [65535, 0, 1, 2]
    for packet in packets:
        assert_checksums(packet)


@pytest.mark.parametrize("version", [4, 6])
def test_udp_datagrams(version: int) -> None:
    payload = bytes(range(250)) * 10
    packets = segment(super_udp(version, payload, 1001))
    parsed = [parse(packet) for packet in packets]
    assert [one[UDP].len for one in parsed] == [1009, 1009, 506]
    assert b"".join(bytes(one[UDP].payload) for one in parsed) == payload
    for packet in packets:
        assert_checksums(packet)


def test_options_are_in_every_segment() -> None:
    options = [("NOP", None), ("NOP", None), ("Timestamp", (123, 456))]
    packet = super_tcp(4, bytes(3000), 1436, {"options": [b"\x01" * 4]}, options=options)
    for one in segment(packet):
        assert parse(one)[TCP].options == options
        assert parse(one)[IP].ihl == 6
        assert_checksums(one)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("layer", [TCP, UDP])
@pytest.mark.parametrize("size", [0, 1, 1400])
def test_a_partial_checksum_is_completed(version: int, layer: type, size: int) -> None:
    (packet,) = segment(partial(ip_layer(version) / layer(sport=1, dport=2) / (b"z" * size)))
    assert_checksums(packet)


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    finished = plain(ip_layer(4) / UDP(sport=1, dport=2) / b"\0\0")
    balance = parse(finished)[UDP].chksum
    layers = ip_layer(4) / UDP(sport=1, dport=2) / balance.to_bytes(2, "big")
    (packet,) = segment(partial(layers))
    assert parse(packet)[UDP].chksum == 0xFFFF


def test_a_plain_packet_comes_back_as_it_is() -> None:
    packet = plain(ip_layer(4) / TCP() / b"x")
    assert segment(packet) == [packet]
    assert segment(altered(packet, flags=virtio.F_DATA_VALID)) == [packet]


def test_headers_behind_an_ipv6_extension() -> None:
    finished = plain(ip_layer(6) / IPv6ExtHdrHopByHop() / TCP(seq=9) / bytes(3000))
    header = virtio.Header(virtio.F_NEEDS_CSUM, virtio.GSO_TCPV6, 0, 1440, 48, 16)
    packets = segment(header.encode() + finished[virtio.HEADER_SIZE :])
    assert [len(parse(packet)[TCP].payload) for packet in packets] == [1440, 1440, 120]
    for packet in packets:
        assert_checksums(packet)


def test_a_super_packet_whose_checksum_is_done_already() -> None:
    packets = segment(altered(TCP4, flags=virtio.F_DATA_VALID, csum_start=0, csum_offset=0))
    assert packets == segment(TCP4)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(altered(TCP4, gso_size=0), id="no segment size"),
        pytest.param(altered(TCP4, gso_size=1), id="9,000 segments of one byte"),
        pytest.param(altered(TCP4, hdr_len=60000), id="headers beyond the end"),
        pytest.param(altered(TCP4, csum_start=65000), id="transport header beyond the end"),
        pytest.param(altered(TCP4, csum_start=9030), id="transport header cut off"),
        pytest.param(altered(TCP4, csum_start=4), id="transport header in the IP header"),
        pytest.param(altered(TCP4, gso_type=virtio.GSO_TCPV6), id="v6 type over v4"),
        pytest.param(altered(TCP6, gso_type=virtio.GSO_TCPV4), id="v4 type over v6"),
        pytest.param(altered(TCP4, gso_type=3), id="UFO"),
        pytest.param(altered(TCP4, gso_type=0, csum_start=65000), id="checksum beyond the end"),
        pytest.param(altered(TCP4, gso_type=0, csum_start=9039), id="half a checksum"),
        pytest.param(altered(TCP4, gso_type=0, csum_start=0, csum_offset=12), id="would write the source"),
        pytest.param(with_ip(TCP4, 32, 0x40), id="TCP header too short"),
        pytest.param(with_ip(super_tcp(4, b"x", 1448), 32, 0xF0), id="TCP header beyond the end"),
        pytest.param(TCP4[:-1], id="a byte is missing"),
        pytest.param(UDP4[:5], id="no virtio header"),
    ],
)
def test_hostile_headers_are_refused(packet: bytes) -> None:
    with pytest.raises(DecodeError):
        segment(packet)


@given(
    version=st.sampled_from([4, 6]),
    payload=st.binary(min_size=1, max_size=4000),
    size=st.integers(40, 1500),
    udp=st.booleans(),
)
def test_reassembly_is_the_identity(version: int, payload: bytes, size: int, udp: bool) -> None:
    packet = super_udp(version, payload, size) if udp else super_tcp(version, payload, size)
    virtio.check(packet)
    parsed = [parse(one) for one in segment(packet)]
    layer = UDP if udp else TCP
    assert b"".join(bytes(one[layer].payload) for one in parsed) == payload
    assert all(len(one[layer].payload) == size for one in parsed[:-1])


@given(
    version=st.sampled_from([4, 6]),
    payload=st.binary(min_size=1, max_size=6000),
    size=st.integers(60, 1500),
    limit=st.integers(1, 7000),
    udp=st.booleans(),
    together=st.integers(0, 7000),
)
def test_what_is_split_gives_the_same_segments(
    version: int, payload: bytes, size: int, limit: int, udp: bool, together: int
) -> None:
    packet = (
        super_udp(version, payload, size) if udp else super_tcp(version, payload, size, seq=5, flags="FPACE")
    )
    # Whatever lies together in the kernel's memory, it says in hdr_len.
    packet = altered(packet, hdr_len=min(together, len(packet) - virtio.HEADER_SIZE))
    virtio.check(packet)
    pieces = split(packet, limit)
    for piece in pieces:
        virtio.check(piece)
        assert len(piece) <= limit or virtio.decode(piece).gso_type == virtio.GSO_NONE
    assert [one for piece in pieces for one in segment(piece)] == segment(packet)


@pytest.mark.parametrize(("packet", "headers"), [(TCP4, 40), (TCP6, 60), (UDP4, 28)])
def test_each_piece_says_how_long_its_own_headers_are(packet: bytes, headers: int) -> None:
    forwarded = altered(packet, hdr_len=1500)
    assert segment(forwarded) == segment(packet)
    *pieces, last = split(forwarded, 4000)
    assert {virtio.decode(piece).hdr_len for piece in pieces} == {headers}
    assert len(last) < 1500
    assert virtio.decode(last).hdr_len == 0, "it is no super-packet"
    virtio.check(last)


def test_what_is_no_super_packet_is_not_split() -> None:
    for packet in (plain(ip_layer(4) / TCP() / bytes(1000)), partial(ip_layer(6) / UDP() / bytes(1000))):
        assert split(packet, 100) == [packet]
    assert split(TCP4, len(TCP4)) == [TCP4]


@given(headers, st.sampled_from([TCP4, TCP6, UDP4]), st.integers(0, 300), st.integers(0, 255))
def test_splitting_random_headers(header: virtio.Header, packet: bytes, at: int, value: int) -> None:
    data = bytearray(header.encode() + packet[virtio.HEADER_SIZE :])
    data[at] = value
    with contextlib.suppress(DecodeError):
        assert split(bytes(data), 2000)


@given(st.binary(max_size=200))
def test_random_bytes_raise_decode_errors_only(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        segment(data)


@given(headers, st.sampled_from([TCP4, TCP6, UDP4]), st.integers(0, 300), st.integers(0, 255))
def test_random_headers_in_front_of_real_packets(
    header: virtio.Header, packet: bytes, at: int, value: int
) -> None:
    data = bytearray(header.encode() + packet[virtio.HEADER_SIZE :])
    data[at] = value
    with contextlib.suppress(DecodeError):
        segment(bytes(data))


@given(
    st.sampled_from([TCP4, TCP6, UDP4]),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
)
def test_what_passes_the_check_can_be_segmented(packet: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(packet)
    for at, value in changes:
        data[at] = value
    try:
        virtio.check(data)
    except DecodeError:
        return
    if not is_plain(bytes(data)):
        assert segment(bytes(data))
