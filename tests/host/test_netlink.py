"""Netlink from wherever it is called, and its errors."""

from __future__ import annotations

import asyncio
import errno
import threading

import pytest
import uvloop
from pyroute2.netlink.exceptions import NetlinkError

from nconnect.errors import HostError, PrivilegeError
from nconnect.host import netlink
from nconnect.host.netlink import Netlink
from nconnect.host.tun import Tun

from .namespaces import Netns, sh

pytestmark = pytest.mark.netns


def test_it_works_on_a_thread_that_runs_an_event_loop(netns: Netns) -> None:
    async def ask() -> int | None:
        with Netlink() as host:
            return host.index("lo")

    assert asyncio.run(ask()) == 1
    assert uvloop.run(ask()) == 1


def test_it_works_from_several_threads(netns: Netns) -> None:
    found: list[int | None] = []
    with Netlink() as host:
        threads = [threading.Thread(target=lambda: found.append(host.index("lo"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [1] * 4


def test_adding_twice_is_adding_once_and_removing_twice_is_told(netns: Netns) -> None:
    with Tun.open("nc0"), Netlink() as host:
        for _ in range(2):
            host.set_up("nc0")
            host.add_address("nc0", "100.64.0.2/32")
            host.add_route("10.0.0.0/8", 700_002, "unicast", "nc0")
            host.add_rule(5200, 700_002, 4, 0x1063, True)
        assert sh("ip rule show priority 5200").count("lookup 700002") == 1
        for expected in (True, False):
            assert host.remove_rule(5200, 700_002, 4, 0x1063, True) is expected
            assert host.remove_route("10.0.0.0/8", 700_002, "unicast") is expected
            assert host.remove_address("nc0", "100.64.0.2/32") is expected
    with Netlink() as host:
        assert not host.set_down("nc0")
        assert not host.remove_address("nc0", "100.64.0.2/32")


def test_routes_and_rules_survive_systemd_networkd(netns: Netns) -> None:
    """It removes what it does not know when it restarts, except protocol kernel."""
    with Tun.open("nc0"), Netlink() as host:
        host.set_up("nc0")
        host.add_route("10.0.0.0/8", 700_002, "unicast", "nc0")
        host.add_rule(5200, 700_002, 6, 0x1063, True)
        assert "proto kernel" in sh("ip route show table 700002")
        assert "proto kernel" in sh("ip -6 -d rule show priority 5200")


def test_what_the_kernel_refuses_is_told(netns: Netns) -> None:
    with Netlink() as host:
        with pytest.raises(HostError, match="cannot find interface nope: No such device"):
            host.add_address("nope", "100.64.0.2/32")
        with Tun.open("nc0"), pytest.raises(HostError, match="cannot set the MTU of nc0 to 3: Invalid"):
            host.set_size("nc0", 3, 1000)


@pytest.mark.parametrize(("code", "expected"), [(errno.EPERM, PrivilegeError), (errno.ENOBUFS, HostError)])
def test_refusals_are_errors_of_our_tree(netns: Netns, code: int, expected: type[Exception]) -> None:
    def refuse(_: object) -> None:
        raise NetlinkError(code, "refused")

    with Netlink() as host, pytest.raises(expected, match="cannot do it: "):
        host._call("do it", refuse)


def test_a_socket_that_cannot_be_opened_is_told(netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(netlink, "_open_socket", refuse)
    with pytest.raises(HostError, match="cannot open a netlink socket: Too many open files"):
        Netlink()
