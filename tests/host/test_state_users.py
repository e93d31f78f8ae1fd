"""The manager on a real kernel: a gateway's users come and go (machine.py draws where)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from nconnect.errors import HostError
from nconnect.host import userchains
from nconnect.host.state import HostManager
from nconnect.host.tun import Tun
from nconnect.host.userchains import chain_name

from .machine import gateway, host, rules, tun
from .namespaces import sh

__all__ = ["host", "tun"]

pytestmark = pytest.mark.netns


def test_they_come_and_go_without_a_rule_of_others_being_touched(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        empty = sh("nft list table inet nconnect_home")
        manager.change_users([rules("100.64.9.2", "fd09::2"), rules("100.64.9.3")])
        grant = chain_name(rules("100.64.9.2"))
        stays = sh(f"nft -a list chain inet nconnect_home {grant}")
        manager.change_users([rules("100.64.9.3", to="10.9.0.0/16", rate=8_000), rules("100.64.9.4")])
        assert sh(f"nft -a list chain inet nconnect_home {grant}") == stays
        assert sh("nft list limits").count("1000 bytes/second") == 2
        assert "10.9.0.0/16" in sh("nft list ruleset")
        manager.change_users(remove=map(ip_address, ("fd09::2", "100.64.9.3", "100.64.9.4")))
        assert sh("nft list table inet nconnect_home") == empty


def test_what_is_so_already_is_not_done_again(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        manager.change_users([rules("100.64.9.2", "fd09::2")])
        before = sh("nft -a list ruleset")
        manager.change_users([rules("100.64.9.2", "fd09::2")], [ip_address("100.64.9.7")])
        manager.apply(gateway())
        assert sh("nft -a list ruleset") == before


def test_an_address_may_go_to_another_user(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        manager.change_users([rules("100.64.9.2", "fd09::2")])
        manager.change_users([rules("100.64.9.3", "fd09::2")])
        assert "100.64.9.2" not in sh("nft list ruleset")
        assert "fd09::2 . fd09::2 : jump grant_" in sh("nft list maps")


def test_a_refused_change_changes_nothing(tun: Tun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        manager.change_users([rules("100.64.9.2")])
        before = sh("nft -a list ruleset")
        with monkeypatch.context() as patched:
            patched.setattr(userchains, "chain_name", lambda user: "x" * 1000)
            with pytest.raises(HostError, match="nft could not change our table"):
                manager.change_users([rules("100.64.9.3"), rules("100.64.9.4")], [ip_address("100.64.9.2")])
        assert sh("nft -a list ruleset") == before
        manager.change_users([rules("100.64.9.3")])
        assert "100.64.9.3 . 100.64.9.3" in sh("nft list ruleset")


def test_who_is_removed_is_out_whatever_others_did_to_the_table(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        empty = sh("nft list ruleset")
        manager.change_users([rules("100.64.9.2", "fd09::2")])
        sh("nft flush map inet nconnect_home users4")
        manager.change_users(remove=[ip_address("100.64.9.2")])
        assert sh("nft list ruleset") == empty


def test_they_come_back_with_a_table_that_somebody_flushed(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        manager.apply(gateway())
        manager.change_users([rules("100.64.9.2", "fd09::2"), rules("100.64.9.3")])
        before = sh("nft list table inet nconnect_home")
        sh("nft flush ruleset")
        manager.change_users([rules("100.64.9.4")])
        manager.change_users(remove=[ip_address("100.64.9.4")])
        assert sh("nft list table inet nconnect_home") == before
        sh("nft flush ruleset")
        assert manager.refresh() == ["somebody removed our nftables table; it is in place again"]
        assert sh("nft list table inet nconnect_home") == before


def test_they_need_a_gateway(tun: Tun, tmp_path: Path) -> None:
    with HostManager(tmp_path / "home.journal") as manager:
        with pytest.raises(HostError, match="apply its state before their rules"):
            manager.change_users([rules("100.64.9.2")])
        manager.apply(gateway())
        manager.change_users([rules("100.64.9.2")])
        manager.apply(replace(gateway(), nft=None))
        with pytest.raises(HostError, match="apply its state before their rules"):
            manager.change_users(remove=[ip_address("100.64.9.2")])
        manager.apply(gateway())
        assert "100.64.9.2" not in sh("nft list ruleset")
