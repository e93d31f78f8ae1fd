"""Kernel switches by name, and those that change together."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nconnect.errors import HostError
from nconnect.host import sysctl

from .namespaces import Netns, sh


def test_a_dot_in_an_interface_name_is_a_slash() -> None:
    assert sysctl.link_name(4, "eth0.100", "rp_filter") == "net.ipv4.conf.eth0/100.rp_filter"


@pytest.mark.netns
class TestOnAHost:
    @pytest.fixture(autouse=True)
    def host(self, netns: Netns) -> None:
        sh("ip link add eth0.100 type veth peer name eth1")

    def test_a_switch_is_read_and_set(self) -> None:
        name = sysctl.link_name(4, "eth0.100", "rp_filter")
        assert sysctl.read(name) == "0"
        assert sysctl.write(name, "2")
        assert sysctl.read(name) == "2"
        assert sysctl.read("net.ipv4.conf.all.rp_filter") == "0"

    def test_a_switch_that_is_not_there(self) -> None:
        name = sysctl.link_name(4, "gone", "rp_filter")
        assert sysctl.read(name) is None
        assert not sysctl.write(name, "1")
        with pytest.raises(HostError, match=r"net\.ipv4\.conf\.gone\.rp_filter: this kernel has no such"):
            sysctl.set_to(name, "1")

    def test_a_value_that_the_kernel_refuses(self) -> None:
        with pytest.raises(HostError, match=r"cannot set the sysctl net\.ipv4\.ip_forward to many: Invalid"):
            sysctl.set_to("net.ipv4.ip_forward", "many")

    def test_a_container_is_told_the_option(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Path, "write_text", refuse)
        sysctl.set_to("net.ipv4.ip_forward", "0")
        with pytest.raises(HostError, match=r"container with --sysctl net\.ipv4\.ip_forward=1$"):
            sysctl.set_to("net.ipv4.ip_forward", "1")

    @pytest.mark.parametrize("name", [sysctl.IPV4_FORWARD, sysctl.IPV6_FORWARD])
    def test_all_that_the_kernel_changes_with_a_forwarding_switch_is_listed(self, name: str) -> None:
        """Judged by the kernel: what differs after the write was in the list, with its old value."""
        pattern = "sysctl -a -r '^net.ipv[46].(conf|ip_forward)' | grep -v stable_secret"
        before = dict(line.split(" = ") for line in sh(pattern).splitlines() if " = " in line)
        listed = sysctl.side_effects(name)
        sysctl.write(name, "1")
        after = dict(line.split(" = ") for line in sh(pattern).splitlines() if " = " in line)
        changed = {one: value for one, value in before.items() if after[one] != value}
        assert changed.pop(name) == "0"
        assert changed.items() <= listed.items()

    def test_other_switches_change_alone(self) -> None:
        assert sysctl.side_effects("net.ipv4.conf.all.rp_filter") == {}
