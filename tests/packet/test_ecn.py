from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from nconnect.packet.ecn import mark
from nconnect.packet.segment import segment

from .packets import ip_layer, plain, super_tcp
from .test_segment import assert_checksums, parse


def layers(version: int, traffic_class: int, **more: Any) -> Any:
    return ip_layer(version, **{"tos" if version == 4 else "tc": traffic_class}, **more)


def traffic_class(packet: bytes) -> int:
    ip = parse(packet)
    return int(ip.tos if IP in ip else ip[IPv6].tc)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("ecn", [1, 2])
@given(dscp=st.integers(0, 63), identification=st.integers(0, 65535), payload=st.binary(max_size=50))
def test_who_understands_is_told(
    version: int, ecn: int, dscp: int, identification: int, payload: bytes
) -> None:
    more = {"id": identification} if version == 4 else {"fl": identification}
    packet = plain(layers(version, dscp << 2 | ecn, **more) / TCP() / payload)
    marked = mark(packet)
    assert marked is not None
    assert traffic_class(marked) == dscp << 2 | 3
    assert_checksums(marked)
    assert mark(marked) == marked


@pytest.mark.parametrize("version", [4, 6])
def test_who_does_not_is_left_alone(version: int) -> None:
    assert mark(plain(layers(version, 0xFC) / TCP())) is None


@pytest.mark.parametrize("version", [4, 6])
def test_each_segment_of_a_super_packet_is_marked(version: int) -> None:
    ip = {"tos" if version == 4 else "tc": 2}
    marked = mark(super_tcp(version, bytes(5000), 1448, ip))
    assert marked is not None
    pieces = segment(marked)
    assert len(pieces) == 4
    for piece in pieces:
        assert traffic_class(piece) == 3
        assert_checksums(piece)
