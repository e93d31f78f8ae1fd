"""Control messages: what one side says the other hears, and what a peer sends is at worst an error."""

from __future__ import annotations

import contextlib
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import DecodeError
from nconnect.host.user_rules import Mapping
from nconnect.names.zone import MAX_ADDRESSES, MAX_DOMAINS, MAX_HOSTS
from nconnect.tunnel import control_pb2 as pb
from nconnect.tunnel.control import (
    MAX_LIST,
    MAX_MAPPINGS,
    Bye,
    ControlMessage,
    Hello,
    Host,
    Mappings,
    Ping,
    Pong,
    Refused,
    Rekey,
    RoutesChanged,
    Welcome,
    decode,
    encode,
)

MAPPED = (
    Mapping(ip_network("192.168.1.0/24"), ip_network("10.201.7.0/24")),
    Mapping(ip_network("fd77::/64"), ip_network("fd6e:636f:6e6e:9::/64")),
)
WELCOME = Welcome(
    addresses=(ip_address("100.64.0.2"), ip_address("fd00::2")),
    gateways=(ip_address("100.64.0.1"),),
    mtu=1500,
    routes=(ip_network("192.168.1.0/24"), ip_network("fd77::/64")),
    capabilities=frozenset({"uso"}),
    name="gpu-box",
    dns=(ip_address("192.168.1.1"),),
    domains=("lan", "office.example"),
    hosts=(Host("gpu", (ip_address("192.168.1.20"), ip_address("fd77::20"))), Host("nobody", ())),
    mappings=MAPPED,
)


@pytest.mark.parametrize(
    "message",
    [
        Hello(frozenset({"uso"}), "laptop", b"token", MAPPED),
        WELCOME,
        Refused(1, "this key is not admitted"),
        RoutesChanged((ip_network("10.0.0.0/8"),)),
        RoutesChanged(()),
        Mappings(MAPPED),
        Mappings((), "no room"),
        Ping(0),
        Pong(2**64 - 1),
        Rekey(3),
        Bye(""),
    ],
    ids=lambda message: type(message).__name__,
)
def test_said_is_heard(message: ControlMessage) -> None:
    assert decode(encode(message)) == message


def test_what_a_later_version_says_is_skipped() -> None:
    assert decode(b"") is None
    assert decode(bytes.fromhex("fa0600")) is None, "field 111 of a later version"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda welcome: welcome.addresses.append("300.1.1.1"), "wrong address"),
        (lambda welcome: welcome.routes.append("10.0.0.1/8"), "wrong prefix"),
        (lambda welcome: welcome.routes.extend(["10.0.0.0/8"] * (MAX_LIST + 1)), "list of"),
        (lambda welcome: welcome.domains.append(""), "'' is not a domain"),
        (lambda welcome: welcome.domains.extend(["lan"] * (MAX_DOMAINS + 1)), "list of 35"),
        (lambda welcome: welcome.hosts.add(name="a.b"), "'a.b' is not a host's name"),
        (lambda welcome: welcome.hosts.add(name="a", addresses=["::1"] * (MAX_ADDRESSES + 1)), "list of 5"),
        (lambda welcome: [welcome.hosts.add(name="a") for _ in range(MAX_HOSTS)], "list of 130"),
        (lambda welcome: welcome.mappings.add(real="10.0.0.0/8", seen="x"), "wrong prefix"),
        (
            lambda welcome: welcome.mappings.add(real="10.0.0.0/8", seen="11.0.0.0/9"),
            "one version and length",
        ),
        (lambda welcome: welcome.mappings.add(real="10.0.0.0/8", seen="fd00::/8"), "one version and length"),
        (
            lambda welcome: [welcome.mappings.add(real="::/64", seen="::/64") for _ in range(MAX_MAPPINGS)],
            "list of 66",
        ),
        (lambda welcome: setattr(welcome, "mtu", 100), "MTU of 100"),
        (lambda welcome: setattr(welcome, "mtu", 70000), "MTU of 70000"),
    ],
)
def test_a_wrong_welcome_is_refused(change: object, says: str) -> None:
    message = pb.Control.FromString(encode(WELCOME))
    assert callable(change)
    change(message.welcome)
    with pytest.raises(DecodeError, match=says):
        decode(message.SerializeToString())


def test_names_cannot_play_with_the_terminal() -> None:
    message = decode(encode(Hello(name="evil\x1b[2J\r\nname" + "x" * 1000)))
    assert isinstance(message, Hello)
    assert message.name.startswith("evil?[2J??name")
    assert len(message.name) == 256


@given(st.binary(max_size=400))
def test_hostile_bytes_are_only_decode_errors(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        decode(data)
