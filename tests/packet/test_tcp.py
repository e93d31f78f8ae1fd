"""Probe and reset, as scapy reads them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from nconnect.errors import DecodeError
from nconnect.packet import tcp
from nconnect.packet.virtio import PLAIN

PAIRS = [("100.64.7.2", "192.168.1.20"), ("fd77::2", "fd78::20")]
EXPECTED = 0xFEDCBA98


def layers(packet: bytes) -> tuple[Any, Any]:
    """IP and TCP of a packet whose checksums and lengths are right."""
    assert packet.startswith(PLAIN)
    data = packet[len(PLAIN) :]
    found: Any = IP(data) if data[0] >> 4 == 4 else IPv6(data)
    again = found.copy()
    del again[TCP].chksum
    if IP in again:
        del again.chksum, again.len
    else:
        del again.plen
    assert bytes(again) == data
    return found, found[TCP]


def answer(server: str, user: str, flags: str, options: list[tuple[str, Any]], data: bytes = b"") -> bytes:
    """What the server sends."""
    network = (IPv6 if ":" in server else IP)(src=server, dst=user)
    segment = TCP(sport=8000, dport=40000, seq=7, ack=EXPECTED, flags=flags, options=options)
    return PLAIN + bytes(network / segment / Raw(data))


@pytest.mark.parametrize(("user", "server"), PAIRS)
def test_a_probe_is_a_syn_from_the_user(user: str, server: str) -> None:
    packet = tcp.probe(ip_address(user).packed, ip_address(server).packed, 40000, 8000)
    network, segment = layers(packet)
    assert (network.src, network.dst, segment.sport, segment.dport) == (user, server, 40000, 8000)
    assert segment.flags == "S"


@pytest.mark.parametrize(("user", "server"), PAIRS)
@pytest.mark.parametrize("options", [[], [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]])
@pytest.mark.parametrize(("flags", "data"), [("A", b""), ("PA", b"token"), ("FA", b"")])
def test_a_reset_has_the_number_that_the_server_expects(
    user: str, server: str, options: list[tuple[str, Any]], flags: str, data: bytes
) -> None:
    packet = tcp.reset_for(answer(server, user, flags, options, data))
    assert packet is not None
    network, segment = layers(packet)
    assert (network.src, network.dst, segment.sport, segment.dport) == (user, server, 40000, 8000)
    assert (segment.flags, segment.seq) == ("R", EXPECTED)


@pytest.mark.parametrize("flags", ["R", "RA", "S"])
def test_who_resets_or_tells_no_number_is_not_reset(flags: str) -> None:
    assert tcp.reset_for(answer("192.168.1.20", "100.64.7.2", flags, [])) is None


def test_other_protocols_have_no_resets() -> None:
    datagram = IP(src="192.168.1.20", dst="100.64.7.2") / UDP(sport=1, dport=2) / Raw(bytes(20))
    assert tcp.reset_for(PLAIN + bytes(datagram)) is None


@pytest.mark.parametrize(("user", "server"), PAIRS)
def test_what_is_cut_off_is_no_packet(user: str, server: str) -> None:
    whole = answer(server, user, "A", [])
    for size in range(len(PLAIN), len(whole)):
        with pytest.raises(DecodeError):
            tcp.reset_for(whole[:size])
