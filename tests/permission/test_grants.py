"""What people write for a grant: read as it is meant, or refused with what is wrong and what is right."""

from __future__ import annotations

import contextlib
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import UsageError
from nconnect.host.grants import Target
from nconnect.permission import grants
from nconnect.permission.grants import (
    MAX_TARGETS,
    Grant,
    format_duration,
    format_rate,
    format_size,
    format_target,
    parse_duration,
    parse_rate,
    parse_size,
    parse_target,
    parse_targets,
)

ANY = (0, 65535)


@pytest.mark.parametrize(
    ("text", "network", "protocol", "ports"),
    [
        ("192.168.1.20", "192.168.1.20/32", "", ANY),
        ("192.168.1.20/32", "192.168.1.20/32", "", ANY),
        ("192.168.1.20:11434/tcp", "192.168.1.20/32", "tcp", (11434, 11434)),
        ("192.168.1.20:8000-8010/udp", "192.168.1.20/32", "udp", (8000, 8010)),
        ("192.168.1.20/icmp", "192.168.1.20/32", "icmp", ANY),
        ("192.168.1.20/TCP", "192.168.1.20/32", "tcp", ANY),
        ("192.168.1.0/24", "192.168.1.0/24", "", ANY),
        ("192.168.1.0/24:80/tcp", "192.168.1.0/24", "tcp", (80, 80)),
        ("0.0.0.0/0", "0.0.0.0/0", "", ANY),
        ("fd00::1", "fd00::1/128", "", ANY),
        ("fd00::/64", "fd00::/64", "", ANY),
        ("fd00::1/udp", "fd00::1/128", "udp", ANY),
        ("[fd00::1]", "fd00::1/128", "", ANY),
        ("[fd00::1]:80/tcp", "fd00::1/128", "tcp", (80, 80)),
        ("[fd00::/64]:1-65535/udp", "fd00::/64", "udp", (1, 65535)),
        ("127.0.0.1:8080/tcp", "127.0.0.1/32", "tcp", (8080, 8080)),
    ],
)
def test_targets(text: str, network: str, protocol: str, ports: tuple[int, int]) -> None:
    target = parse_target(text)
    assert target == Target(ip_network(network), protocol, ports)
    assert parse_target(format_target(target)) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "neither an address nor a network"),
        ("laptop", "neither an address nor a network"),
        ("gpu.lan:80/tcp", "neither an address nor a network"),
        ("192.168.1.999", "neither an address nor a network"),
        ("192.168.1", "neither an address nor a network"),
        ("192.168.1.20:80", "add /tcp or /udp"),
        ("192.168.1.20:80/icmp", "add /tcp or /udp"),
        ("192.168.1.20:80/sctp", "none of tcp, udp, icmp"),
        ("192.168.1.20:0/tcp", "from 1 to 65535"),
        ("192.168.1.20:65536/tcp", "from 1 to 65535"),
        ("192.168.1.20:90-80/tcp", "the lower one first"),
        ("192.168.1.20:http/tcp", "'http' is not a port"),
        ("192.168.1.20:/tcp", "'' is not a port"),
        ("192.168.1.20:80-/tcp", "'80-' is not a port"),
        ("192.168.1.20:8٠/tcp", "is not a port"),
        ("192.168.1.20/24", "did you mean 192.168.1.0/24?"),
        ("fd00::1:80/tcp/udp", "neither an address nor a network"),
        ("[fd00::1", "brackets are for an IPv6 address"),
        ("[192.168.1.20]:80/tcp", "brackets are for an IPv6 address"),
        ("[fd00::1]80/tcp", "brackets are for an IPv6 address"),
        ("fe80::1%eth0", "a scope"),
        ("0.0.0.0", "nobody's address"),
        ("::", "nobody's address"),
        ("::ffff:10.0.0.1", "write 10.0.0.1 instead"),
        ("1" * 1000, "too long"),
        ("192.168.1.20 ", "neither an address nor a network"),
    ],
)
def test_what_is_no_target(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_target(text)
    message = str(caught.value)
    assert repr(text[:100])[:-1] in message
    assert why in message
    assert "192.168.1.20:443/tcp" in message
    assert len(message.splitlines()) == 1


@given(st.text(max_size=40))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except UsageError:
        return
    assert parse_target(format_target(target)) == target


def test_targets_are_each_counted_once_and_not_without_bound() -> None:
    assert len(parse_targets(["10.0.0.1", "10.0.0.1/32"])) == 1
    many = [f"10.0.{number // 256}.{number % 256}" for number in range(1, MAX_TARGETS + 2)]
    assert len(parse_targets(many[:-1])) == MAX_TARGETS
    with pytest.raises(UsageError, match=f"{MAX_TARGETS} is the limit"):
        parse_targets(many)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("1h", 3600),
        ("1.5h", 5400),
        ("7d", 604800),
        ("2W", 1209600),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "bits"), [("1bit", 1), ("500kbit", 500_000), ("50mbit", 50_000_000), ("1.5Gbit", 1_500_000_000)]
)
def test_rates(text: str, bits: int) -> None:
    assert parse_rate(text) == bits
    assert parse_rate(format_rate(bits)) == bits


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [
        ("1B", 1, "1B"),
        ("500MB", 500_000_000, "500MB"),
        ("100GB", 100_000_000_000, "100GB"),
        ("1.5tb", 1_500_000_000_000, "1.5TB"),
        ("1GiB", 1 << 30, "1.07GB"),
    ],
)
def test_sizes(text: str, size: int, shown: str) -> None:
    assert parse_size(text) == size
    assert format_size(size) == shown


@pytest.mark.parametrize("parse", [parse_duration, parse_rate, parse_size])
@pytest.mark.parametrize(
    "text",
    ["", "7", "d", "-7d", "0d", "0mbit", "0GB", "7 parsecs", "1e9d", "9" * 30 + "d", "inf", "٧d", "7d\n"],
)
def test_what_is_no_quantity(parse: object, text: str) -> None:
    with pytest.raises(UsageError, match="write for instance") as caught:
        parse(text)  # type: ignore[operator]
    assert repr(text) in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    for parse in (parse_duration, parse_rate, parse_size):
        with contextlib.suppress(UsageError):
            assert parse(text) >= 1


def test_what_a_grant_reaches() -> None:
    served = (ip_network("192.168.77.0/24"), ip_network("fd77::/64"))
    everything = tuple(map(Target, served))
    named = (parse_target("10.9.9.9:80/tcp"),)
    assert Grant().reaches(served) == everything
    assert Grant(named).reaches(served) == named
    assert Grant(named, served=True).reaches(served) == everything + named


def test_limits_are_beyond_what_people_write() -> None:
    assert parse_rate("100gbit") < grants.MAX_RATE
    assert parse_size("1000TB") < grants.MAX_SIZE
