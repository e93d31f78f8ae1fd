from __future__ import annotations

import math
from typing import Any

import pytest

from nconnect.errors import UsageError
from nconnect.ncp import Config


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mtu", 0),
        ("mtu", 2**32),
        ("window_size", 0),
        ("window_size", 2**32),
        ("send_buffer", 0),
        ("ack_bytes", -1),
        ("ack_delay", -0.1),
        ("linger", math.nan),
        ("dial_timeout", -1),
        ("first_sequence", 0),
        ("first_sequence", 2**32),
    ],
)
def test_impossible_values_name_the_option(option: str, value: float) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(UsageError, match=option):
        Config(**options)


def test_defaults_are_those_of_the_sdks() -> None:
    assert (Config().mtu, Config().window_size, Config().linger) == (64 << 10, 4 << 20, 3.0)
