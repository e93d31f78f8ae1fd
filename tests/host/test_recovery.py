"""Cleaning up: whose journal is whose, and what is left alone.

::

    netns: lo, and the rule that a journal says is ours      other: another netns, of the same journals
"""

from __future__ import annotations

from pathlib import Path

import pytest

from nconnect.errors import HostError
from nconnect.host import nft, resolvconf
from nconnect.host.changes import ResolverSet, RuleAdded, SysctlSet, TableMade
from nconnect.host.journal import Header, Journal, boot_id, encode, netns_id
from nconnect.host.recovery import cleanup
from nconnect.host.state import HostManager

from .namespaces import Netns, sh, write_sysctl

pytestmark = pytest.mark.netns

RULE = RuleAdded(5200, 700_007, 4, 0x1063, True)
MAKE_RULE = "ip rule add not fwmark 0x1063 priority 5200 table 700007 protocol kernel"


def header(boot: str = "", netns: str = "", init: str = "") -> Header:
    return Header(1, "home", 42, boot or boot_id(), netns or netns_id(), init)


def write(directory: Path, data: bytes, name: str = "home.journal") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def test_no_journals_is_nothing_to_do(netns: Netns, tmp_path: Path) -> None:
    assert cleanup(tmp_path) == []
    assert cleanup(tmp_path / "never-made") == []


def test_a_change_that_was_journaled_is_undone(netns: Netns, tmp_path: Path) -> None:
    sh(MAKE_RULE)
    path = write(tmp_path, encode((header(), RULE)))
    assert cleanup(tmp_path) == ["instance home: undone: IPv4 rule 5200 to table 700007"]
    assert "5200" not in sh("ip rule")
    assert not path.exists()


def test_a_change_that_was_journaled_but_never_made_is_nothing(netns: Netns, tmp_path: Path) -> None:
    before = sh("ip rule")
    write(tmp_path, encode((header(), RULE, TableMade("nconnect_home"))))
    assert cleanup(tmp_path) == []
    assert sh("ip rule") == before


def test_after_a_restart_of_the_machine_only_the_file_goes(netns: Netns, tmp_path: Path) -> None:
    sh(MAKE_RULE)
    path = write(tmp_path, encode((header(boot="an earlier one"), RULE)))
    assert cleanup(tmp_path) == ["instance home ended with the machine's last run, and its changes with it"]
    assert "5200" in sh("ip rule")
    assert not path.exists()


@pytest.mark.parametrize("where", [{"boot": "an earlier one"}, {"netns": "an earlier one", "init": "1"}])
def test_after_a_restart_resolv_conf_is_still_there(
    netns: Netns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: dict[str, str]
) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.53\n")
    monkeypatch.setattr(resolvconf, "PATH", conf)
    resolvconf.insert("home", "127.78.67.9")
    path = write(tmp_path, encode((header(**where), ResolverSet("home", "127.78.67.9"), RULE)))
    assert cleanup(tmp_path)[1:] == [f"instance home: undone: resolver 127.78.67.9 in {conf}"]
    assert conf.read_text() == "nameserver 192.0.2.53\n"
    assert not path.exists()
    # So does the next start of the same name.
    resolvconf.insert("home", "127.78.67.9")
    write(tmp_path, encode((header(**where), ResolverSet("home", "127.78.67.9"), RULE)))
    manager = HostManager(path)
    assert manager.recovered[1:] == [f"instance home: undone: resolver 127.78.67.9 in {conf}"]
    assert conf.read_text() == "nameserver 192.0.2.53\n"
    manager.undo()


def test_after_a_restart_of_the_container_only_the_file_goes(netns: Netns, tmp_path: Path) -> None:
    # The boot id is the host's, so still the same.
    sh(MAKE_RULE)
    path = write(tmp_path, encode((header(netns="an earlier one", init="1"), RULE)))
    assert cleanup(tmp_path) == [
        "instance home ended with this container's last run, and its changes with it"
    ]
    assert "5200" in sh("ip rule")
    assert not path.exists()


def test_a_container_on_the_host_network_undoes_what_its_last_run_left(netns: Netns, tmp_path: Path) -> None:
    sh(MAKE_RULE)
    path = write(tmp_path, encode((header(init="1"), RULE)))
    assert cleanup(tmp_path) == ["instance home: undone: IPv4 rule 5200 to table 700007"]
    assert "5200" not in sh("ip rule")
    assert not path.exists()


def test_another_namespace_is_left_to_those_in_it(netns: Netns, tmp_path: Path) -> None:
    sh(MAKE_RULE)
    with Netns() as other, other.inside():
        path = write(tmp_path, encode((header(), RULE)))
    for _ in range(2):
        (line,) = cleanup(tmp_path)
        assert "ran in another network namespace" in line and str(path) in line
    with pytest.raises(HostError, match="another network namespace"):
        HostManager(path)
    assert "5200" in sh("ip rule")
    assert path.exists()


@pytest.mark.parametrize("data", [b"not a journal\n", encode((RULE,))])
def test_a_file_that_is_no_journal_is_left_alone(netns: Netns, tmp_path: Path, data: bytes) -> None:
    sh(MAKE_RULE)
    path = write(tmp_path, data)
    assert "no journal of ours" in cleanup(tmp_path)[0]
    with pytest.raises(HostError, match="no journal of ours"):
        HostManager(path)
    assert path.read_bytes() == data
    assert "5200" in sh("ip rule")


def test_an_empty_file_is_a_crash_before_the_first_change(netns: Netns, tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    assert cleanup(tmp_path) == []
    assert not path.exists()


def test_a_rewrite_that_was_cut_off_leaves_no_file(netns: Netns, tmp_path: Path) -> None:
    write(tmp_path, b"{", name="home.journal.new")
    assert cleanup(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_damaged_lines_do_not_keep_the_others_from_being_undone(netns: Netns, tmp_path: Path) -> None:
    sh(MAKE_RULE)
    write(tmp_path, encode((header(),)) + b"###\n" + encode((RULE,)))
    lines = cleanup(tmp_path)
    assert lines[0] == "instance home: undone: IPv4 rule 5200 to table 700007"
    assert "unreadable lines in its journal: 1" in lines[1]
    assert "5200" not in sh("ip rule")


def test_what_cannot_be_undone_stays_in_the_journal(
    netns: Netns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sh(MAKE_RULE)
    sh("nft add table inet nconnect_home")
    path = write(tmp_path, encode((header(), TableMade("nconnect_home"), RULE)))

    def refuse(_: str) -> None:
        raise HostError("nft is not installed")

    with monkeypatch.context() as patched:
        patched.setattr(nft, "delete_table", refuse)
        lines = cleanup(tmp_path)
    assert "instance home: could not undo nftables table inet nconnect_home: nft is not installed" in lines
    assert "5200" not in sh("ip rule")
    assert path.exists()
    assert cleanup(tmp_path) == ["instance home: undone: nftables table inet nconnect_home"]
    assert not path.exists()


def test_a_sysctl_that_a_living_instance_needs_is_left_to_it(netns: Netns, tmp_path: Path) -> None:
    forward = SysctlSet("net.ipv4.ip_forward", "0", "1")
    write_sysctl("net/ipv4/ip_forward", "1")
    write(tmp_path, encode((header(), forward)), name="dead.journal")
    living = Journal.lock(tmp_path / "living.journal")
    living.rewrite(())
    living.append((forward,))
    (line,) = cleanup(tmp_path)
    assert line.startswith("instance dead: left for another instance")
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "1\n"
    living.close()
    cleanup(tmp_path)
    assert sh("cat /proc/sys/net/ipv4/ip_forward") == "0\n"
