"""What is put together is cut into the same packets again, by `segment` as by a kernel."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt

from nconnect.errors import DecodeError
from nconnect.packet import ip, virtio
from nconnect.packet.batch import LENGTH_SIZE
from nconnect.packet.coalesce import Coalescer
from nconnect.packet.segment import segment

from .packets import fragments, ip_layer, partial, plain, super_tcp, super_udp
from .test_virtio import TCP4, TCP6, UDP4, altered


def coalesce(packets: list[bytes], *, udp: bool = True) -> list[bytes]:
    coalescer = Coalescer()
    coalescer.udp = udp
    for packet in packets:
        coalescer.add(packet)
    size = coalescer.size
    out = coalescer.take()
    assert sum(len(packet) + LENGTH_SIZE for packet in out) <= size
    assert coalescer.size == 0
    assert coalescer.take() == []
    for packet in out:
        virtio.check(packet)
        ip.addresses(packet)
    return out


def cut(packets: list[bytes]) -> list[bytes]:
    return [piece for packet in packets for piece in segment(packet)]


def network(version: int, number: int = 0, **more: Any) -> Any:
    if version == 4:
        return ip_layer(4, flags="DF", id=number & 0xFFFF, **more)
    return ip_layer(6, **more)


def datagram(version: int, payload: bytes, number: int = 0, **udp: Any) -> Any:
    fields = {"sport": 40000, "dport": 443, **udp}
    return network(version, number) / UDP(**fields) / payload


def data(version: int, sequence: int, payload: bytes, flags: str = "A", number: int = 0, **tcp: Any) -> Any:
    fields = {"sport": 40000, "dport": 443, "ack": 7, "seq": sequence & 0xFFFFFFFF, "flags": flags, **tcp}
    return network(version, number) / TCP(**fields) / payload


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("make", [partial, plain])
def test_datagrams_of_one_size_and_a_shorter_one_at_the_end(version: int, make: Any) -> None:
    packets = [make(datagram(version, bytes([n]) * (64 if n < 9 else 30), n)) for n in range(10)]
    (one,) = coalesce(packets)
    assert virtio.decode(one).gso_type == virtio.GSO_UDP_L4
    assert segment(one) == cut(packets)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("make", [partial, plain])
def test_data_of_one_connection(version: int, make: Any) -> None:
    options = [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]
    start = 2**32 - 3000
    packets = [
        make(data(version, start + 1400 * n, bytes([n]) * (1400 if n < 9 else 17), "A" if n < 9 else "PA", n,
                  options=options))
        for n in range(10)
    ]  # fmt: skip
    (one,) = coalesce(packets)
    assert segment(one) == cut(packets)


def test_a_super_packet_that_was_cut_is_whole_again() -> None:
    for packet in (
        super_tcp(4, bytes(range(256)) * 20, 1448, {"flags": "DF", "id": 5}, flags="A"),
        super_tcp(6, bytes(range(256)) * 20, 1448, flags="PA"),
        super_udp(6, bytes(range(250)) * 20, 1001),
    ):
        (again,) = coalesce(segment(packet))
        assert again[virtio.HEADER_SIZE :] == packet[virtio.HEADER_SIZE :]
        assert virtio.decode(again)[1] == virtio.decode(packet)[1]
        assert virtio.decode(again)[3:] == virtio.decode(packet)[3:]


FLOWS = st.lists(
    st.tuples(
        st.sampled_from(["udp", "tcp"]),
        st.sampled_from([4, 6]),
        st.integers(1, 3),  # port
        st.sampled_from([0, 1, 20, 20, 20, 100, 100]),  # payload
        st.sampled_from(["A", "A", "A", "A", "PA", "FA", "EA", "S"]),
        st.booleans(),  # partial checksum
        st.sampled_from([0, 0, 0, 0, 7]),  # a gap in the sequence
    ),
    max_size=25,
)


@given(FLOWS, st.booleans())
def test_coalesced_and_cut_each_flow_is_what_it_was(sent: list[Any], udp: bool) -> None:
    packets = []
    sequences: dict[Any, int] = {}
    for number, (kind, version, port, size, flags, unfinished, gap) in enumerate(sent):
        payload = random.Random(number).randbytes(size)
        if kind == "udp":
            layers = datagram(version, payload, sport=port)
        else:
            sequence = sequences.get((version, port), 2**32 - 50) + gap
            sequences[version, port] = sequence + size
            layers = data(version, sequence, payload, flags, sport=port)
        packets.append((partial if unfinished else plain)(layers))
    out = coalesce(packets, udp=udp)
    assert len(out) <= len(packets)
    before, after = map(by_flow, (cut(packets), cut(out)))
    assert before == after


def by_flow(packets: list[bytes]) -> dict[Any, list[bytes]]:
    """Without IPv4's identification, which means nothing where nothing may be fragmented."""
    flows: dict[Any, list[bytes]] = {}
    for packet in packets:
        layers = (IP if packet[virtio.HEADER_SIZE] >> 4 == 4 else IPv6)(packet[virtio.HEADER_SIZE :])
        if IP in layers:
            layers[IP].id = 0
            del layers[IP].chksum
        flows.setdefault(ip.flow(packet), []).append(bytes(layers))
    return flows


def test_a_wrong_checksum_stays_wrong() -> None:
    packets = [plain(data(4, 100 * n, bytes([n]) * 100)) for n in range(3)]
    broken = bytearray(packets[1])
    broken[-1] ^= 1
    packets[1] = bytes(broken)
    assert coalesce(packets) == packets


def test_what_the_kernel_found_to_be_right_is_not_summed_again() -> None:
    packets = [altered(plain(data(4, 100 * n, bytes(100))), flags=virtio.F_DATA_VALID) for n in range(3)]
    (one,) = coalesce(packets)
    assert [piece[virtio.HEADER_SIZE + 20 :] for piece in segment(one)] == [
        packet[virtio.HEADER_SIZE + 20 :] for packet in packets
    ]


def test_a_datagram_without_a_checksum_gets_none() -> None:
    packets = [plain(datagram(4, b"payload", chksum=0)) for _ in range(3)]
    assert coalesce(packets) == packets


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"tos": 3}, id="congestion experienced"),
        pytest.param({"ttl": 3}, id="another way"),
        pytest.param({"dst": "192.168.1.21"}, id="another host"),
        pytest.param({"flags": ""}, id="may be fragmented"),
        pytest.param({"flags": "MF"}, id="a fragment"),
        pytest.param({"options": [b"\x01" * 4]}, id="options"),
    ],
)
def test_what_differs_is_not_put_together(change: dict[str, Any]) -> None:
    packets = []
    for number in range(4):
        layers = datagram(4, b"payload")
        if number % 2:
            for name, value in change.items():
                setattr(layers[IP], name, value)
        packets.append(plain(layers))
    out = coalesce(packets)
    assert by_flow(cut(out)) == by_flow(packets)
    assert len(out) >= 2


@pytest.mark.parametrize(
    ("version", "odd"),
    [
        pytest.param(4, fragments(datagram(4, bytes(3000)), 1400), id="fragments"),
        pytest.param(
            6, [network(6) / IPv6ExtHdrDestOpt() / UDP() / bytes([n]) for n in range(3)], id="IPv6 extensions"
        ),
    ],
)
def test_what_shows_no_ports_keeps_its_own_order(version: int, odd: list[Any]) -> None:
    packets = []
    for number, layers in enumerate(odd):
        packets += [plain(layers), *(partial(datagram(version, bytes([number]))) for _ in range(3))]
    out = coalesce(packets)
    assert len(out) < len(packets)
    assert by_flow(cut(out)) == by_flow(cut(packets))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_others_between_them_are_overtaken(version: int) -> None:
    other = plain(network(version) / TCP(sport=1, dport=2, flags="A"))
    first, *more = [partial(datagram(version, b"payload", n)) for n in range(3)]
    one, same = coalesce([first, other, *more])
    assert segment(one) == cut([first, *more])
    assert same == other


def test_other_packets_pass_as_they_are() -> None:
    others = [
        plain(network(4) / ICMP() / b"ping"),
        plain(ip_layer(4) / TCP(flags="A")),
        plain(network(6) / TCP(flags="S")),
        TCP4, TCP6, UDP4,
    ]  # fmt: skip
    assert coalesce(others * 2) == others * 2


def test_for_a_peer_without_uso_datagrams_stay() -> None:
    packets = [partial(datagram(4, bytes(64))) for _ in range(5)]
    assert coalesce(packets, udp=False) == packets


def test_runs_end_where_the_kernel_s_limits_are() -> None:
    small = [partial(datagram(4, bytes(64), n)) for n in range(300)]
    out = coalesce(small)
    assert [len(segment(packet)) for packet in out] == [virtio.MAX_UDP_SEGMENTS] * 2 + [44]
    large = [partial(datagram(4, bytes(1400), n)) for n in range(100)]
    out = coalesce(large)
    assert len(out) == 3
    assert cut(out) == cut(large)


def test_bytes_sent_one_by_one_are_not_more_segments_than_the_receiver_takes() -> None:
    packets = cut([super_tcp(6, bytes(1000), 1, seq=start) for start in range(0, 3000, 1000)])
    out = coalesce(packets)
    limit = virtio.MAX_TCP_SEGMENTS
    assert [len(segment(packet)) for packet in out] == [limit, 3000 - limit]
    assert cut(out) == packets


@given(
    st.lists(
        st.tuples(st.sampled_from([TCP4, TCP6, UDP4]), st.integers(0, 70), st.integers(0, 255)), max_size=8
    )
)
def test_odd_packets_are_not_made_worse(changes: list[tuple[bytes, int, int]]) -> None:
    packets = []
    for whole, at, value in changes:
        for piece in segment(whole)[:3]:
            one = bytearray(piece)
            one[at] = value
            try:
                virtio.check(one)
                ip.addresses(one)
            except DecodeError:
                continue
            packets.append(bytes(one))
    out = coalesce(packets)
    assert sum(map(len, cut(out))) == sum(map(len, cut(packets)))
