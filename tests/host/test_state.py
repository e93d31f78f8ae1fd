"""The manager on a real kernel: it changes what was asked, no more than that, and leaves nothing behind.

machine.py draws that machine.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from nconnect.errors import AlreadyRunningError, HostError, PrivilegeError
from nconnect.host import netlink, nft, sysctl
from nconnect.host.desired import Route, RouteKind
from nconnect.host.plans import user_state
from nconnect.host.routing import table_of
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun

from .machine import gateway, host, tun, user
from .namespaces import Netns, await_text, sh, snapshot

__all__ = ["host", "tun"]

pytestmark = pytest.mark.netns


@pytest.mark.parametrize("state", [user, gateway])
def test_undo_leaves_the_host_exactly_as_it_was(host: Netns, tmp_path: Path, state: object) -> None:
    assert callable(state)
    before = snapshot()
    with Tun.open("nc0"):
        manager = HostManager(tmp_path / "home.journal")
        manager.apply(state())
        assert snapshot() != before
        assert manager.undo() == []
    assert snapshot() == before
    assert list(tmp_path.iterdir()) == []


def test_a_user_reaches_offered_prefixes_by_the_link_and_its_own_networks_as_ever(
    tun: Tun, tmp_path: Path
) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user())
        assert "dev nc0" in sh("ip route get 10.200.0.1")
        assert "dev nc0" in sh("ip route get 192.168.7.9")
        assert "dev nc0" in sh("ip route get fd05:0:0:9::1")
        assert "dev eth0" in sh("ip route get 10.1.2.9")
        assert "dev eth0" in sh("ip route get fd05::9")
        assert "via 10.1.2.1 dev eth0" in sh("ip route get 8.8.8.8")
        # What carries the mark is a websocket, and takes the way that it had without us.
        assert "via 10.1.2.1 dev eth0" in sh("ip route get 10.200.0.1 mark 0x1063")
        assert "inet6 fe80" not in sh("ip addr show nc0")


def test_applying_the_same_state_again_changes_nothing(
    tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "home.journal"
    with HostManager(path) as manager:
        # The kernel makes IPv6 addresses ready for packets a moment after it took them.
        for state, ready in ((user, "local fd00::2"), (gateway, "anycast fd09::")):
            manager.apply(state())
            await_text("ip -6 route show table local", ready)
            before, journal = snapshot(), path.read_bytes()

            def refuse(*_: object) -> None:
                raise AssertionError("nothing is to be changed")

            with monkeypatch.context() as patched:
                for name in ("set_size", "set_up", "add_address", "set_route", "add_rule", "_remove"):
                    patched.setattr(netlink.Netlink, name, refuse)
                patched.setattr(nft, "run", refuse)
                patched.setattr(sysctl, "write", refuse)
                manager.apply(state())
            # Handles of nftables count up, so a table made anew would show.
            assert (snapshot(), path.read_bytes()) == (before, journal)


def test_a_changed_state_changes_the_difference_only(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user(("10.0.0.0/8", "192.168.7.0/24")))
        await_text("ip -6 route show table local", "local fd00::2")
        before = set(snapshot().splitlines())
        manager.apply(user(("10.0.0.0/8", "192.168.8.0/24")))
        after = set(snapshot().splitlines())
        table = table_of("nc0")
        assert before - after == {f"192.168.7.0/24 dev nc0 table {table} proto kernel "}
        assert after - before == {f"192.168.8.0/24 dev nc0 table {table} proto kernel "}
        manager.apply(user(("10.0.0.0/8", "192.168.8.0/24"), mtu=1300))
        assert "mtu 1300" in sh("ip link show nc0")
        # An MTU is changed on the link as it is: down and up again would lose its routes.
        assert "dev nc0" in sh("ip route get 10.200.0.1")


def test_a_route_changes_its_kind_in_place(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        state, table = user(("192.168.7.0/24",)), table_of("nc0")
        manager.apply(state)
        blocked = Route(ip_network("192.168.7.0/24"), table, RouteKind.UNREACHABLE)
        manager.apply(replace(state, routes=(blocked,)))
        assert f"unreachable 192.168.7.0/24 table {table}" in sh("ip route show table all")
        assert manager.undo() == []
        assert "192.168.7.0" not in sh("ip route show table all")


def test_dropping_the_firewall_from_the_state_deletes_the_table_alone(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        manager.apply(replace(gateway(), nft=None))
        assert sh("nft list tables").split() == ["table", "inet", "theirs"]
        manager.apply(gateway())
        assert "nconnect_home" in sh("nft list tables")


def test_a_link_that_is_not_there_is_told_before_anything_changes(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    with HostManager(tmp_path / "home.journal") as manager:
        with pytest.raises(HostError, match="interface nc0 is not there"):
            manager.apply(gateway())
        assert snapshot() == before


@pytest.mark.parametrize("mtu", [-1, 0, 67, 65_536, 1 << 32])
def test_an_mtu_that_no_link_has_is_refused(tun: Tun, mtu: int) -> None:
    with pytest.raises(HostError, match=f"MTU {mtu} of nc0: a TUN device takes 68 to 65535"):
        user(mtu=mtu)


def test_a_state_that_fails_in_the_middle_is_undone_whole(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    with Tun.open("nc0"):
        manager = HostManager(tmp_path / "home.journal")
        with pytest.raises(HostError, match="this kernel has no such sysctl"):
            manager.apply(replace(gateway(), mtu=600))
        manager.undo()
    assert snapshot() == before


def test_after_a_failure_the_same_state_can_be_tried_again(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        with pytest.raises(HostError):
            manager.apply(replace(user(), mtu=600))
        manager.apply(user())
        assert "dev nc0" in sh("ip route get 10.200.0.1")


def test_without_privileges_the_refusal_is_told(
    tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(netlink, "_open_socket", refuse)
    with pytest.raises(PrivilegeError, match="sudo"):
        HostManager(tmp_path / "home.journal").apply(user())


def test_a_second_manager_of_the_same_name_is_refused(tun: Tun, tmp_path: Path) -> None:
    path = tmp_path / "home.journal"
    with HostManager(path) as manager:
        manager.apply(user())
        with pytest.raises(AlreadyRunningError, match="instance home runs already"):
            HostManager(path)
        assert "dev nc0" in sh("ip route get 10.200.0.1")


class TestTwoInstances:
    """Each has a link, a table, a journal; forwarding is shared, and restored by the last."""

    @pytest.mark.parametrize("first_to_go", [0, 1])
    def test_forwarding_stays_until_the_last_one_goes(
        self, host: Netns, tmp_path: Path, first_to_go: int
    ) -> None:
        before = snapshot()
        with Tun.open("nc0"), Tun.open("nc1"):
            managers = [HostManager(tmp_path / f"{name}.journal") for name in ("a", "b")]
            managers[0].apply(gateway(instance="a"))
            managers[1].apply(replace(gateway(instance="b"), link="nc1", addresses=()))
            managers.pop(first_to_go).undo()
            assert sysctl.read(sysctl.IPV4_FORWARD) == "1"
            assert sysctl.read(sysctl.IPV6_FORWARD) == "1"
            managers.pop().undo()
        assert snapshot() == before

    def test_two_tunnels_carry_their_own_prefixes(self, host: Netns, tmp_path: Path) -> None:
        before = snapshot()
        with Tun.open("nc0"), Tun.open("nc1"), contextlib.ExitStack() as stack:
            for link, prefix in (("nc0", "192.168.7.0/24"), ("nc1", "192.168.8.0/24")):
                manager = stack.enter_context(HostManager(tmp_path / f"{link}.journal"))
                manager.apply(user_state(link, link, 1400, (), [ip_network(prefix)]))
            assert "dev nc0" in sh("ip route get 192.168.7.1")
            assert "dev nc1" in sh("ip route get 192.168.8.1")
        assert snapshot() == before

    @pytest.mark.parametrize("wide_rule_first", [False, True])
    def test_a_wider_offer_leaves_another_tunnel_its_part(
        self, host: Netns, tmp_path: Path, wide_rule_first: bool
    ) -> None:
        wide, narrow = ("nc0", ["10.0.0.0/8", "fd00::/8"]), ("nc1", ["10.9.2.0/24", "fd77::/64"])
        before = snapshot()
        with Tun.open("nc0"), Tun.open("nc1"), contextlib.ExitStack() as stack:
            managers: dict[str, HostManager] = {}
            for link, prefixes in (wide, narrow, wide) if wide_rule_first else (narrow, wide):
                manager = managers.get(link) or stack.enter_context(HostManager(tmp_path / f"{link}.journal"))
                managers[link] = manager
                manager.apply(user_state(link, link, 1400, (), list(map(ip_network, prefixes))))
            for address in ("10.9.2.3", "fd77::3"):
                assert "dev nc1" in sh(f"ip route get {address}")
            for address in ("10.1.3.3", "fd78::3"):
                assert "dev nc0" in sh(f"ip route get {address}")
        assert snapshot() == before
