"""Which names a tunnel knows."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address, ip_network

import pytest

from nconnect.errors import UsageError
from nconnect.names.zone import (
    Ask,
    AskName,
    IPAddress,
    Known,
    Meaning,
    Named,
    Zone,
    is_private,
    label,
    parse_domain,
    parse_label,
)

GATEWAY = ip_address("100.64.0.1")
GPU = ip_address("192.168.1.20")
LEASE = ip_address("100.64.0.2")
ZONE = Zone(
    peer="gpu-box",
    reachable=(ip_network("192.168.1.0/24"), ip_network("fd00:1::/64")),
    gateways=(GATEWAY,),
    hosts={"gpu": (GPU,)},
    leases={"laptop": (LEASE,)},
    domains=("lan", "home.arpa"),
)


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("gpu.gpu-box.nc.", Known((GPU,))),
        ("GPU.GPU-Box.NC", Known((GPU,))),
        ("gateway.gpu-box.nc", Known((GATEWAY,))),
        ("gpu-box.nc", Known((GATEWAY,))),
        ("laptop.gpu-box.nc", Known((LEASE,))),
        ("nas.gpu-box.nc", Ask(("nas.lan", "nas.home.arpa", "nas"))),
        ("nas.lan.", Ask(("nas.lan",))),
        ("lan", Ask(("lan",))),
        ("printer.office.home.arpa", Ask(("printer.office.home.arpa",))),
        ("20.1.168.192.in-addr.arpa", Named(("gpu.gpu-box.nc",))),
        ("1.0.64.100.in-addr.arpa", Named(("gateway.gpu-box.nc",))),
        ("2.0.64.100.in-addr.arpa", Named(("laptop.gpu-box.nc",))),
        ("3.0.64.100.in-addr.arpa", None),
        ("21.1.168.192.in-addr.arpa.", AskName(ip_address("192.168.1.21"))),
        ("21.2.168.192.in-addr.arpa", None),
        ("1.0.0.127.in-addr.arpa", None),
        ("1.168.192.in-addr.arpa", None),
        ("gpu.other-box.nc", None),
        ("evil-gpu-box.nc", None),
        ("notlan", None),
        ("example.org", None),
        ("arpa", None),
        ("", None),
    ],
)
def test_what_a_name_means(name: str, meaning: Meaning) -> None:
    assert ZONE.meaning(name) == meaning


def test_a_system_resolver_asks_for_these_domains_only() -> None:
    assert ZONE.all_domains == (
        *("gpu-box.nc", "lan", "home.arpa"),
        *("1.168.192.in-addr.arpa", "0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"),
        *("1.0.64.100.in-addr.arpa", "2.0.64.100.in-addr.arpa"),
    )


@pytest.mark.parametrize(("called", "meant"), [("gpu", GPU), ("gateway", GATEWAY)])
def test_a_machine_called_as_something_of_the_providers_is_not_meant(called: str, meant: IPAddress) -> None:
    zone = dataclasses.replace(ZONE, leases={called: (LEASE,)})
    assert zone.meaning(f"{called}.gpu-box.nc") == Known((meant,))
    assert zone.meaning("2.0.64.100.in-addr.arpa") is None


@pytest.mark.parametrize(
    ("address", "led"),
    [
        ("192.168.1.20", True),
        ("192.168.2.20", False),
        ("127.0.0.1", False),
        ("fd00:1::5", True),
        ("::1", False),
    ],
)
def test_where_the_tunnel_leads(address: str, led: bool) -> None:
    assert ZONE.leads_to(ip_address(address)) is led


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu-box", "gpu-box"),
        ("Alice's GPU box", "alice-s-gpu-box"),
        ("гпу", "provider"),
        ("", "provider"),
        ("a" * 70, "a" * 63),
        ("--x--", "x"),
    ],
)
def test_a_name_becomes_a_label(text: str, expected: str) -> None:
    assert label(text) == expected


@pytest.mark.parametrize(
    ("domain", "private"),
    [
        ("lan", True),
        ("Office.LAN.", True),
        ("home.arpa", True),
        ("corp", True),
        ("local", False),
        ("com", False),
        ("example.com", False),
        ("arpa", False),
        ("", False),
        ("notlan", False),
    ],
)
def test_domains_that_a_provider_may_have(domain: str, private: bool) -> None:
    assert is_private(domain) is private


@pytest.mark.parametrize(
    ("text", "domain"),
    [("lan", "lan"), (".Office.Example.", "office.example"), ("a-b.c_d", "a-b.c_d"), ("x" * 63, "x" * 63)],
)
def test_a_domain(text: str, domain: str) -> None:
    assert parse_domain(text) == domain


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a", "a-", "x" * 64, "a b", "a/b", "\u0130.lan", "*.lan", ".".join("a" * 128)]
)
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(UsageError, match="is not a domain; write for instance"):
        parse_domain(text)


@pytest.mark.parametrize("text", ["", "a.b", "-a", "a b", "x" * 64, "gpu\n"])
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(UsageError, match="is not a host's name"):
        parse_label(text)
