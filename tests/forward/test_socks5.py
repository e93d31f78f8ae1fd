"""SOCKS5 as bytes, from RFC 1928 and from anybody."""

from __future__ import annotations

import asyncio
import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import DecodeError
from nconnect.forward import socks5
from nconnect.forward.socks5 import Reply, Target, decode_target, encode_target

TARGETS = st.builds(
    Target,
    st.ip_addresses() | st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?", fullmatch=True),
    st.integers(0, 65535),
)


@pytest.mark.parametrize(
    ("target", "encoded"),
    [
        (Target(ip_address("192.168.77.20"), 80), "01 c0a84d14 0050"),
        (Target(ip_address("fd77::20"), 443), "04 fd770000000000000000000000000020 01bb"),
        (Target("gpu.lan", 11434), "03 07 6770752e6c616e 2caa"),
    ],
)
def test_targets_on_the_wire(target: Target, encoded: str) -> None:
    assert encode_target(target) == bytes.fromhex(encoded)
    decoded, rest = decode_target(memoryview(bytes.fromhex(encoded) + b"rest"))
    assert (decoded, bytes(rest)) == (target, b"rest")


@given(TARGETS)
def test_a_target_comes_back(target: Target) -> None:
    assert decode_target(memoryview(encode_target(target)))[0] == target


@given(st.binary(max_size=300))
def test_any_bytes_are_a_target_or_a_decode_error(data: bytes) -> None:
    try:
        target, rest = decode_target(memoryview(data))
    except DecodeError:
        return
    assert encode_target(target) + bytes(rest) == data


@pytest.mark.parametrize("name", ["", "a b", "a\0b", "-x", "x-", "a/b", "ü", "fe80::1%eth0", "x\n"])
def test_what_is_no_host_name(name: str) -> None:
    raw = name.encode()
    with pytest.raises(DecodeError):
        decode_target(memoryview(bytes([3, len(raw)]) + raw + b"\0\x50"))


def test_replies() -> None:
    assert socks5.reply(Reply.SUCCEEDED) == bytes.fromhex("050000 01 00000000 0000")
    bound = Target(ip_address("127.0.0.1"), 4096)
    assert socks5.reply(Reply.NOT_ALLOWED, bound) == bytes.fromhex("050200 01 7f000001 1000")


def test_datagrams() -> None:
    source = Target(ip_address("192.168.77.20"), 53)
    datagram = socks5.encode_datagram(source, b"answer")
    assert datagram == bytes.fromhex("0000 00 01 c0a84d14 0035") + b"answer"
    decoded, payload = socks5.decode_datagram(datagram)
    assert (decoded, bytes(payload)) == (source, b"answer")


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0", b"\0\0\x01" + b"\x01\x7f\0\0\x01\0\x35x"])
def test_what_is_no_datagram(data: bytes) -> None:
    with pytest.raises(DecodeError):
        socks5.decode_datagram(data)


def reader(data: bytes) -> asyncio.StreamReader:
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    return stream


async def test_requests() -> None:
    assert await socks5.read_greeting(reader(bytes.fromhex("05 02 00 02"))) == b"\x00\x02"
    request = bytes.fromhex("05 01 00 03 07") + b"gpu.lan\0\x50"
    assert await socks5.read_request(reader(request + b"GET /")) == (1, Target("gpu.lan", 80))
    request = bytes.fromhex("05 03 00 01 00000000 0000")
    assert await socks5.read_request(reader(request)) == (3, socks5.NOWHERE)
    assert await socks5.read_request(reader(bytes.fromhex("05 01 00 09 00"))) == (1, None)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x04\x01\0\x50", bytes(100), b"\x05"])
async def test_other_protocols_are_no_greeting(data: bytes) -> None:
    with pytest.raises((DecodeError, asyncio.IncompleteReadError)):
        await socks5.read_greeting(reader(data))


@given(st.binary(max_size=50))
async def test_any_bytes_are_a_request_or_a_clear_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError, asyncio.IncompleteReadError):
        await socks5.read_request(reader(data))
