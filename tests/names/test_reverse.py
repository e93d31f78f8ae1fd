"""Names of addresses, there and back."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.names.reverse import address_of, domains_of

ADDRESSES = st.ip_addresses()


@given(ADDRESSES)
def test_there_and_back(address: object) -> None:
    here = ip_address(str(address))
    assert address_of(here.reverse_pointer) == here


@given(st.text(max_size=80), st.sampled_from([".in-addr.arpa", ".ip6.arpa", ""]))
def test_any_text_is_an_address_or_none(text: str, suffix: str) -> None:
    address_of(text + suffix)


@pytest.mark.parametrize(
    ("network", "domains"),
    [
        ("192.168.1.0/24", ["1.168.192.in-addr.arpa"]),
        ("192.168.1.20/32", ["20.1.168.192.in-addr.arpa"]),
        ("192.168.0.0/23", ["0.168.192.in-addr.arpa", "1.168.192.in-addr.arpa"]),
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("192.168.1.0/25", []),
        ("10.0.0.0/9", []),
        ("0.0.0.0/0", []),
        ("fd77:77::/32", ["7.7.0.0.7.7.d.f.ip6.arpa"]),
        ("fd77:74::/30", [f"{digit}.7.0.0.7.7.d.f.ip6.arpa" for digit in "4567"]),
    ],
)
def test_the_domains_of_a_network(network: str, domains: list[str]) -> None:
    assert domains_of(ip_network(network)) == domains
