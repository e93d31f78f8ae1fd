from __future__ import annotations

from typing import Any

import pytest

from nconnect.devnet import DevnetConfig, Shape
from nconnect.devnet.config import format_endpoint, parse_endpoint, parse_node_shape, parse_place
from nconnect.errors import ConfigError

from .transacting import ALICE, account


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": 0}, "1 to 256 nodes"),
        ({"nodes": 257}, "1 to 256 nodes"),
        ({"listen": "127.0.0.1"}, "expected host:port"),
        ({"listen": ":30003"}, "expected host:port"),
        ({"listen": "::1:30003"}, "brackets"),
        ({"listen": "127.0.0.1:x"}, "not a port"),
        ({"listen": "127.0.0.1:70000"}, "not a port"),
        ({"listen": "127.0.0.1:٣"}, "not a port"),
        ({"listen": "127.0.0.1:65533"}, "below 65532"),
        ({"advertise": "10.0.0.1 "}, "advertise"),
        ({"advertise": ""}, "advertise"),
        ({"advertise": "http://10.0.0.1"}, "advertise"),
        ({"latency_ms": -1}, "latency -1"),
        ({"latency_ms": float("nan")}, "latency nan"),
        ({"jitter_ms": 1e9}, "jitter 1e\\+09"),
        ({"loss_pct": 101}, "loss 101"),
        ({"rate_mbit": -5}, "rate -5"),
        ({"rate_mbit": float("inf")}, "rate inf"),
        ({"node_shapes": {4: Shape()}}, "node 4: the nodes are 0 to 3"),
        ({"node_shapes": {0: Shape()}, "loss_pct": -1}, "loss -1"),
        ({"ping_interval": 0}, "ping_interval 0"),
        ({"listen": "127.0.0.1:65531", "tls": True}, "below 65528"),
        ({"faucet": "-1"}, "funds: '-1' is no amount"),
        ({"balances": {ALICE.wallet_address: "x"}}, "funds: 'x' is no amount"),
        ({"balances": {"NKNx": "1"}}, "funds: 'NKNx' is not a wallet address"),
    ],
)
def test_bad_options_are_refused_with_their_value(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DevnetConfig(**options)


def test_endpoints() -> None:
    assert parse_endpoint("127.0.0.1:30003") == ("127.0.0.1", 30003)
    assert parse_endpoint("[::1]:0") == ("::1", 0)
    assert parse_endpoint("localhost:65535") == ("localhost", 65535)
    assert format_endpoint("::1", 1) == "[::1]:1"
    assert format_endpoint("10.0.0.1", 1) == "10.0.0.1:1"


def test_a_node_may_have_a_shape_of_its_own() -> None:
    slow = Shape(latency_ms=100)
    config = DevnetConfig(latency_ms=10, loss_pct=1, node_shapes={2: slow})
    assert config.shape(0) == Shape(latency_ms=10, loss_pct=1)
    assert config.shape(2) is slow
    assert not slow.is_neutral
    assert DevnetConfig().shape(0).is_neutral


def test_funds_are_in_units_by_account() -> None:
    config = DevnetConfig(faucet="0.5", balances={ALICE.wallet_address: "2"})
    assert config.funds() == ({account(ALICE): 200_000_000}, 50_000_000)


def test_a_nodes_shape_as_text() -> None:
    default = Shape(latency_ms=20, rate_mbit=50)
    assert parse_node_shape("3:rate=5", default) == (3, Shape(latency_ms=20, rate_mbit=5))
    text = "0:latency=1,jitter=2,loss=3.5,rate=0"
    assert parse_node_shape(text, default) == (0, Shape(latency_ms=1, jitter_ms=2, loss_pct=3.5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rate=5", "'rate=5' is not the shape of a node"),
        ("x:rate=5", "'x:rate=5' is not"),
        ("-1:rate=5", "'-1:rate=5' is not"),
        ("1:", "'' shapes nothing"),
        ("1:speed=5", "'speed=5' shapes nothing: expected latency, jitter, loss, rate"),
        ("1:rate", "'rate' shapes nothing"),
        ("1:rate=fast", "'rate=fast' shapes nothing"),
        ("1:rate=nan", "'rate=nan' shapes nothing"),
        ("1:rate=5,loss=101", "loss 101: expected"),
    ],
)
def test_text_that_is_no_shape(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_node_shape(text, Shape())


def test_places_as_text() -> None:
    key = "AB" * 32
    assert parse_place(f"{key}:0,3") == (key.lower(), (0, 3))
    for text in ("", f"{key}", f"{key}:", f"{key}:0,x", f"{key}:-1", "x:0"):
        with pytest.raises(ConfigError, match="places no client"):
            parse_place(text)
    with pytest.raises(ConfigError, match="a client placed at node 4"):
        DevnetConfig(places={key: (4,)})
