"""The manager on a real kernel: what somebody else changed of ours, or of what we changed.

machine.py draws that machine.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nconnect.errors import HostError
from nconnect.host import resolvconf, sysctl
from nconnect.host.plans import user_state
from nconnect.host.routing import table_of
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun

from .machine import ADDRESSES, PREFIXES, gateway, host, tun, user
from .namespaces import Netns, await_text, sh, snapshot, write_sysctl

__all__ = ["host", "tun"]

pytestmark = pytest.mark.netns


def test_a_sysctl_that_somebody_changed_since_is_left(tun: Tun, tmp_path: Path) -> None:
    manager = HostManager(tmp_path / "home.journal")
    manager.apply(user())
    write_sysctl("net/ipv4/conf/all/src_valid_mark", "2")
    lines = manager.undo()
    assert Path("/proc/sys/net/ipv4/conf/all/src_valid_mark").read_text() == "2\n"
    assert len(lines) == 1 and "somebody changed it" in lines[0]


def test_a_sysctl_goes_back_to_what_others_set_meanwhile(tun: Tun, tmp_path: Path) -> None:
    """It was on already when we came, for a program that then switched it off: nobody needs it after us."""
    write_sysctl("net/ipv4/ip_forward", "1")
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        write_sysctl("net/ipv4/ip_forward", "0")
        assert any("ip_forward" in line for line in manager.refresh())
        assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "0\n"


def test_what_is_gone_already_is_no_trouble(host: Netns, tmp_path: Path) -> None:
    before = snapshot()
    with Tun.open("nc0"):
        manager = HostManager(tmp_path / "home.journal")
        manager.apply(user())
        sh("ip rule del priority 5200; nft delete table inet nconnect_home; ip link delete nc0")
        lines = manager.undo()
    assert snapshot() == before
    assert any("IPv4 rule 5200" in line for line in lines)
    assert all(line.startswith("gone already: ") for line in lines)


def test_what_somebody_flushed_is_put_back(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user())
        text = sh("nft list table inet nconnect_home; ip rule; ip -6 rule; ip route show table all")
        assert manager.refresh() == []
        sh("nft flush ruleset; ip rule del pref 5200; ip -6 rule del pref 5200")
        sh(f"ip route flush table {table_of('nc0')}")
        assert "dev nc0" not in sh("ip route get 10.200.0.1")
        assert manager.refresh() == [
            "somebody removed our nftables table; it is in place again",
            f"somebody removed our throw route 10.1.2.0/24 of table {table_of('nc0')} and 2 more; put back",
            f"somebody removed our IPv4 rule 5200 to table {table_of('nc0')} and 1 more; put back",
        ]
        assert "dev nc0" in sh("ip route get 10.200.0.1")
        assert sh("nft list table inet nconnect_home") in text
        assert manager.refresh() == []
        assert manager.undo() == []


def test_a_link_that_somebody_set_down_is_up_again_with_its_addresses_and_routes(
    tun: Tun, tmp_path: Path
) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(user())
        await_text("ip -6 route show table local", "local fd00::2")
        shown = "ip -o addr show nc0; ip route show table all; ip -6 route show table all"
        before = sh(shown)
        sh("ip link set nc0 down")
        assert "fd00::2" not in sh(shown)
        lines = manager.refresh()
        assert lines[:2] == [
            "somebody deleted nc0 or set it down; it is up again",
            "somebody removed our address fd00::2/128 of nc0; put back",
        ]
        await_text("ip -6 route show table local", "local fd00::2")
        assert sorted(sh(shown).splitlines()) == sorted(before.splitlines())
        assert manager.refresh() == []


def test_a_switch_that_somebody_changed_back_is_ours_again(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        write_sysctl("net/ipv4/ip_forward", "0")
        assert manager.refresh() == ["somebody changed the sysctl net.ipv4.ip_forward; it is 1 again"]
        assert sysctl.read(sysctl.IPV4_FORWARD) == "1"
        assert sysctl.read(sysctl.link_name(4, "nc0", "forwarding")) == "1"
        assert manager.refresh() == []
        assert manager.undo() == []
    assert sysctl.read(sysctl.IPV4_FORWARD) == "0"


def test_between_events_what_none_tells_of_is_looked_at(
    tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of all the rest."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("")
    monkeypatch.setattr(resolvconf, "PATH", conf)
    with HostManager(tmp_path / "journal" / "home.journal") as manager:
        manager.apply(replace(gateway(), resolver="127.78.67.9"))
        conf.write_text("")
        write_sysctl("net/ipv4/ip_forward", "0")
        sh("ip addr del 100.64.9.1/24 dev nc0")
        assert manager.refresh(unannounced=True) == [
            "somebody changed the sysctl net.ipv4.ip_forward; it is 1 again",
            f"somebody wrote {conf}; our resolver is in it again",
        ]
        assert manager.refresh() == ["somebody removed our address 100.64.9.1/24 of nc0; put back"]


def test_what_cannot_be_put_back_does_not_keep_the_rest_from_its_place(
    tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, value: str) -> bool:
        raise HostError(f"cannot set {name}")

    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        write_sysctl("net/ipv4/ip_forward", "0")
        sh("ip addr del 100.64.9.1/24 dev nc0")
        with monkeypatch.context() as patched:
            patched.setattr(sysctl, "write", refuse)
            lines = manager.refresh()
        assert lines == [
            "cannot set net.ipv4.ip_forward",
            "somebody removed our address 100.64.9.1/24 of nc0; put back",
        ]


def test_a_resolver_is_put_into_resolv_conf_and_back_again(
    tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr(resolvconf, "PATH", conf)
    manager = HostManager(tmp_path / "journal" / "home.journal")
    state = replace(user_state("home", tun.name, 1400, ADDRESSES, PREFIXES), resolver="127.78.67.9")
    manager.apply(state)
    assert "nameserver 127.78.67.9\nnameserver 192.0.2.53\n" in conf.read_text()
    conf.write_text("nameserver 192.0.2.54\n")
    assert manager.refresh() == [f"somebody wrote {conf}; our resolver is in it again"]
    manager.apply(replace(state, resolver=""))
    assert conf.read_text() == "nameserver 192.0.2.54\n"
    manager.apply(state)
    manager.undo()
    assert conf.read_text() == "nameserver 192.0.2.54\n"
