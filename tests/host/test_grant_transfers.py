"""Bulk transfers at a gateway: what is revoked stops, and a rate holds (site.py draws where)."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nconnect.host import userchains

from .namespaces import Netns
from .site import (
    MAPPINGS,
    USERS_OF_TESTS,
    Site,
    site,
    target,
)

__all__ = ["site"]

pytestmark = pytest.mark.netns


GIGABIT = 10**9
REVOKED_AFTER = 2.0
COUNTED = """
nft add table inet seen; nft add counter inet seen data
nft add chain inet seen input '{{ type filter hook prerouting priority -300; }}'
nft add rule inet seen input iifname {0} tcp flags '&' rst == 0 counter name data
nft add rule inet seen input iifname {0} meta l4proto udp counter name data
"""
"""Resets are refusals."""


def bytes_seen(netns: Netns) -> int:
    """Of TCP and UDP packets that came into a namespace where COUNTED was run."""
    (counter,) = (one for one in json.loads(netns.sh("nft -j list counters"))["nftables"] if "counter" in one)
    return int(counter["counter"]["bytes"])


@contextlib.contextmanager
def iperf_server(site: Site, port: int) -> Iterator[None]:
    """On the LAN host, for one transfer."""
    command = ["iperf3", "-s", "-1", "-p", str(port), "--forceflush"]
    with site.lan.inside():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert any("listening" in line for line in process.stdout)
        yield
        process.kill()


@contextlib.contextmanager
def transfers(site: Site, *wanted: tuple[str, ...]) -> Iterator[None]:
    """At full speed between the LAN host and the user of 100.64.9.3; whatever becomes of them."""
    with contextlib.ExitStack() as stack:
        for port, options in enumerate(wanted, 5300):
            stack.enter_context(iperf_server(site, port))
            client = ["iperf3", "-c", "192.168.0.20", "-B", "100.64.9.3", "-p", str(port), *options]
            with site.users.inside():
                process = subprocess.Popen(client, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
            stack.enter_context(process)
            stack.callback(process.kill)
        yield


@pytest.mark.parametrize("how", ["revoked", "narrowed"])
def test_nothing_passes_a_second_after_a_revoke_in_the_middle_of_bulk_transfers(site: Site, how: str) -> None:
    """TCP and UDP, to the LAN and from it, as fast as they go. Packets are counted where they come out."""
    user = USERS_OF_TESTS["the lan"]
    site.allow(user)
    site.lan.sh(COUNTED.format("eth0"))
    site.users.sh(COUNTED.format("users0"))
    udp = ("-u", "-b", "1G", "-l", "1400")
    with transfers(site, (), ("-R",), udp, (*udp, "-R")):
        time.sleep(REVOKED_AFTER)
        before = [bytes_seen(one) for one in (site.lan, site.users)]
        start = time.monotonic()
        if how == "revoked":
            site.revoke(user)
        else:
            site.manager.change_users([user.rules(target("192.168.0.20/32", "tcp", 7))])
        took = time.monotonic() - start
        time.sleep(max(0.0, 1.0 - took))
        after = [bytes_seen(one) for one in (site.lan, site.users)]
        time.sleep(REVOKED_AFTER)
        later = [bytes_seen(one) for one in (site.lan, site.users)]
    assert sum(before) * 8 > GIGABIT * REVOKED_AFTER, before
    assert later == after


@pytest.mark.parametrize("direction", ["", "-R"])
@pytest.mark.parametrize("mbit", [5, 100])
def test_the_rate_holds_in_each_direction_and_is_used(site: Site, mbit: int, direction: str) -> None:
    """Once the bucket is empty, which the first two seconds are for."""
    user = USERS_OF_TESTS["the lan"]
    site.manager.change_users([user.rules(rate=mbit * 10**6)])
    with iperf_server(site, 5300):
        client = f"iperf3 -J -c 192.168.0.20 -B 100.64.9.3 -p 5300 -O 2 -t 3 {direction}"
        end = json.loads(site.users.sh(client))["end"]
    # A second without traffic, after a loss, fills the bucket again.
    assert 0.6 < end["sum_received"]["bits_per_second"] / (mbit * 10**6) < 1.4


def test_other_rules_are_no_new_allowance(site: Site) -> None:
    """A user may ask for other mappings again and again: what was used up stays used up."""
    user, rate, size = USERS_OF_TESTS["the lan"], 1_000_000, 1400
    site.lan.sh(COUNTED.format("eth0"))
    start = time.monotonic()
    with site.socket(socket.SOCK_DGRAM, user.addresses[0]) as sock:
        sock.setblocking(True)
        for number in range(8):
            rules = replace(user.rules(rate=8 * rate), mappings=MAPPINGS[: number % 2])
            site.manager.change_users([rules])
            for _ in range(rate // size):
                sock.sendto(bytes(size), ("192.168.0.20", 9))
    # A second's worth and two super-packets at once, and what the rate adds meanwhile.
    allowed = rate * (time.monotonic() - start + 1.0) + userchains.BURST_BYTES
    seen = bytes_seen(site.lan)
    assert rate < seen < 1.1 * allowed, f"{seen} bytes, {allowed:.0f} are allowed"
