"""What a provider says of names, and to whom."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nconnect.errors import UsageError
from nconnect.host.grants import Target
from nconnect.names import zone
from nconnect.permission.grants import parse_targets
from nconnect.tunnel.control import Host
from nconnect.tunnel.offer import Offer, parse

ROUTER, GPU, GPU6 = map(ip_address, ("192.168.1.1", "192.168.1.20", "fd77::20"))
OFFER = Offer((ROUTER,), ("lan",), (Host("gpu", (GPU, GPU6)), Host("nas", (ip_address("192.168.1.30"),))))


def test_as_it_is_typed() -> None:
    hosts = ["gpu=192.168.1.20", "GPU=fd77::20", "nas=192.168.1.30", "nas=192.168.1.30"]
    assert parse(["192.168.1.1"], ["LAN."], hosts) == OFFER
    assert parse([], [], []) == Offer()


@pytest.mark.parametrize(
    ("dns", "domains", "hosts", "says"),
    [
        (["router"], [], [], "--dns: 'router' is not an IP address"),
        (["127.0.0.53"], [], [], "--dns: 127.0.0.53 means another machine to each user"),
        (["fe80::1"], [], [], "fe80::1 means another machine"),
        ([f"192.168.1.{number}" for number in range(5)], [], [], "--dns is given 5 times; 4 is the limit"),
        (["192.168.1.1"], ["a..b"], [], "'a..b' is not a domain"),
        (["192.168.1.1"], [f"d{number}" for number in range(40)], [], "--domain is given 40 times"),
        ([], ["lan"], [], r"which one\? give --dns ADDRESS too"),
        ([], [], ["gpu"], "--host: '' is not an IP address"),
        ([], [], ["a.b=192.168.1.1"], "'a.b' is not a host's name"),
        ([], [], [f"gpu=192.168.1.{number}" for number in range(5)], "--host gpu= is given 5 times"),
        ([], [], [f"h{number}=192.168.1.1" for number in range(zone.MAX_HOSTS + 1)], "--host is given 129"),
    ],
)
def test_what_is_wrong(dns: list[str], domains: list[str], hosts: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(dns, domains, hosts)


@pytest.mark.parametrize(
    ("granted", "expected"),
    [
        (["192.168.1.0/24", "fd77::/64"], OFFER),
        (["192.168.1.0/24"], Offer((ROUTER,), ("lan",), (Host("gpu", (GPU,)), OFFER.hosts[1]))),
        (["192.168.1.20:11434/tcp"], Offer(hosts=(Host("gpu", (GPU,)),))),
        (["192.168.1.1:53/udp"], Offer((ROUTER,), ("lan",))),
        (["192.168.1.1:53/tcp"], Offer()),
        (["192.168.1.1:80/udp"], Offer()),
        (["10.0.0.0/8"], Offer()),
    ],
)
def test_a_user_learns_of_what_the_grant_reaches(granted: list[str], expected: Offer) -> None:
    assert OFFER.within(parse_targets(granted)) == expected


def test_a_resolver_on_the_provider_itself_is_opened() -> None:
    """A network does not open the provider's own address in it."""
    both = tuple(Target(ip_network("192.168.1.1/32"), protocol, (53, 53)) for protocol in ("udp", "tcp"))
    assert OFFER.opened(parse_targets(["192.168.1.0/24"])) == both
    assert OFFER.opened(parse_targets(["192.168.1.20:11434/tcp"])) == ()
