"""A control message between user and provider, after TLS."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from nconnect.errors import DecodeError
from nconnect.host.user_rules import Mapping
from nconnect.tunnel.control import (
    MAX_LIST,
    MAX_MAPPINGS,
    MAX_TEXT,
    Bye,
    ControlMessage,
    Hello,
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

ERRORS = (DecodeError,)


def seeds() -> list[bytes]:
    networks = (ip_network("192.168.1.0/24"), ip_network("fd00::/64"))
    mappings = (Mapping(networks[0], ip_network("10.201.7.0/24")),)
    messages: list[ControlMessage] = [
        Hello(frozenset({"uso"}), "laptop", b"token", mappings),
        Welcome(
            addresses=(ip_address("100.64.0.2"), ip_address("fd00::2")),
            gateways=(ip_address("100.64.0.1"),),
            mtu=1400,
            routes=networks,
            name="home",
            dns=(ip_address("192.168.1.1"),),
        ),
        Refused(1, "not admitted"),
        RoutesChanged(networks),
        Mappings(mappings, "no room"),
        Ping(7),
        Pong(7),
        Rekey(2),
        Bye("good night"),
    ]
    return [encode(message) for message in messages]


def run(data: bytes) -> None:
    message = decode(data)
    if message is None:
        return
    if isinstance(message, Hello | Welcome):
        assert len(message.name) <= MAX_TEXT and (not message.name or message.name.isprintable())
        assert len(message.capabilities) <= MAX_LIST
        assert len(message.mappings) <= MAX_MAPPINGS
    elif isinstance(message, Refused | Mappings | Bye):
        assert len(message.reason) <= MAX_TEXT and (not message.reason or message.reason.isprintable())
    assert decode(encode(message)) == message
