"""A configuration that cannot work is refused when it is made."""

from __future__ import annotations

from typing import Any

import pytest

from nconnect.config import MAIN_NET_SEEDS
from nconnect.errors import ConfigError
from nconnect.nkn.config import ClientConfig


def test_the_default_is_the_main_network() -> None:
    config = ClientConfig()
    assert config.seed_rpc == MAIN_NET_SEEDS
    assert len(MAIN_NET_SEEDS) == 9
    assert config.sub_clients == 4


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"seed_rpc": ()}, "seed_rpc is empty"),
        ({"seed_rpc": ("seed.nkn.org",)}, "not the URL of an NKN node"),
        ({"sub_clients": -1}, "sub_clients must be"),
        ({"sub_clients": 33}, "sub_clients must be"),
        ({"sub_clients": 0}, "no client is left"),
        ({"socket_mark": -1}, "socket_mark"),
        ({"socket_mark": 2**32}, "socket_mark"),
        ({"ping_interval": 10.0}, "less than silence_timeout"),
        ({"ping_interval": 0.0}, "more than 0"),
    ],
)
def test_impossible_values(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ClientConfig(**values)


def test_the_original_client_alone() -> None:
    assert ClientConfig(sub_clients=0, original=True).original
