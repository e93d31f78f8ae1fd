from __future__ import annotations

import socket

from hypothesis import given
from hypothesis import strategies as st

from nconnect.packet.checksum import complement, pseudo_header, word_sum


def slow_checksum(data: bytes) -> int:
    """RFC 1071, 4.1, word by word."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_the_example_of_the_rfc() -> None:
    assert word_sum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2


@given(st.binary(max_size=3000))
def test_equals_the_word_by_word_sum(data: bytes) -> None:
    with_protocol = data + (b"\0" if len(data) % 2 else b"") + b"\0\x06"
    assert complement(word_sum(data) + 6) == slow_checksum(with_protocol)


def test_an_odd_last_byte_is_the_high_half_of_a_word() -> None:
    assert word_sum(b"\x12") == 0x1200


def test_pseudo_header_of_both_versions() -> None:
    source, destination = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    assert pseudo_header(source, destination, 17) == 0x0A00 + 1 + 0x0A00 + 2 + 17
    source6, destination6 = (socket.inet_pton(socket.AF_INET6, text) for text in ("fd00::1", "fd00::2"))
    assert pseudo_header(source6, destination6, 6) == 0xFD00 + 1 + 0xFD00 + 2 + 6
