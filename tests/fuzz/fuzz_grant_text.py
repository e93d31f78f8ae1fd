"""What people type for a grant: a target, a duration, a rate, a size, a name; each read whole or refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from nconnect.errors import UsageError
from nconnect.permission.grants import (
    format_rate,
    format_target,
    parse_duration,
    parse_rate,
    parse_size,
    parse_target,
)
from nconnect.permission.keys import check_name, parse_key

ERRORS = (UsageError,)
QUANTITIES: tuple[Callable[[str], int], ...] = (parse_duration, parse_rate, parse_size)


def seeds() -> list[bytes]:
    return [
        *(
            b"192.168.1.20",
            b"192.168.1.0/24:80/tcp",
            b"[fd00::1]:8000-8010/udp",
            b"fd00::/64",
            b"10.0.0.1/icmp",
        ),
        *(b"7d", b"50mbit", b"100GB", b"1.5GiB", b"laptop", b"laptop." + b"0f" * 32),
    ]


def run(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(UsageError):
        target = parse_target(text)
        assert parse_target(format_target(target)) == target
    for parse in QUANTITIES:
        with contextlib.suppress(UsageError):
            assert parse(text) > 0
    with contextlib.suppress(UsageError):
        assert parse_rate(format_rate(parse_rate(text))) == parse_rate(text)
    with contextlib.suppress(UsageError):
        assert check_name(text).isprintable()
    assert len(parse_key(text)) == 32
