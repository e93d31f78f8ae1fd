"""nft as we use it: one transaction, our table only, errors in one line."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nconnect.errors import ConfigError, HostError, PrivilegeError
from nconnect.host import expressions as x
from nconnect.host import nft
from nconnect.host.nft import NftChain, NftMap, NftSet, NftTable

from .namespaces import Netns, sh

TABLE = NftTable(
    "nconnect_home",
    (
        NftSet("who", ("ipv4_addr",), elements=frozenset({"10.0.0.2", "10.0.0.1"})),
        NftSet("where", ("ipv4_addr",), interval=True, elements=frozenset({"10.1.0.0/16"})),
    ),
    (NftMap("users", ("ipv4_addr", "ipv4_addr")),),
    (NftChain("forward", "filter", "forward", 0, (x.rule(x.came_in_by("nc0"), x.DROP),)),),
)
CHANGED = "changed the rules of chain forward of our nftables table"


def test_a_table_is_replaced_within_one_transaction() -> None:
    commands = nft.replace_commands(TABLE)
    table = {"table": {"family": "inet", "name": "nconnect_home"}}
    assert commands[:3] == [{"add": table}, {"delete": table}, {"add": table}]
    assert commands[3]["add"]["set"]["elem"] == ["10.0.0.1", "10.0.0.2"]
    assert commands[4]["add"]["set"]["elem"] == [{"prefix": {"addr": "10.1.0.0", "len": 16}}]
    assert all(body["table"] == "nconnect_home" for one in commands[3:] for body in one["add"].values())


def test_no_command_of_ours_flushes_or_names_another_table() -> None:
    assert "flush" not in str(nft.replace_commands(TABLE))


@pytest.mark.parametrize("name", ["", "a b", "x/y", "é", "-x", ".x", "a" * 33, 'a"', "a\n"])
def test_an_instance_name_that_would_not_do_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="instance name"):
        nft.table_name(name)


def test_an_instance_names_its_table() -> None:
    assert nft.table_name("home-2_x.y") == "nconnect_home-2_x.y"


def test_without_nft_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(nft, "SYSTEM_PATH", "/nowhere")
    with pytest.raises(HostError, match="apt install nftables"):
        nft.query("tables")


@pytest.mark.parametrize(
    ("script", "expected", "message"),
    [
        ("echo 'Operation not permitted (you must be root)' >&2; exit 1", PrivilegeError, "sudo"),
        (
            "echo; echo 'Error: no' >&2; echo 'more' >&2; exit 1",
            HostError,
            "nft could not list tables: Error: no$",
        ),
        ("exit 3", HostError, "exit code 3"),
        ("echo 'not json'", HostError, "printed no JSON"),
        ("echo '[]'", HostError, "printed no JSON"),
        ("sleep 30", HostError, "nft did not list tables in 0.5 seconds"),
    ],
)
def test_what_goes_wrong_with_nft_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: type[Exception], message: str
) -> None:
    fake = tmp_path / "nft"
    fake.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n".replace("sleep", "exec sleep"))
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nft, "TIMEOUT_S", 0.5)
    with pytest.raises(expected, match=message) as caught:
        nft.query("tables")
    assert "\n" not in str(caught.value)


def test_a_module_that_the_kernel_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table that is to be deleted the same words say that it is gone."""
    fake = tmp_path / "nft"
    words = "internal:0:0-0: Error: Could not process rule: No such file or directory"
    fake.write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        HostError, match=f"{words}: this kernel lacks a module .*modprobe nft_connlimit"
    ) as caught:
        nft.replace_table(TABLE)
    assert "\n" not in str(caught.value)
    assert not nft.delete_table(TABLE.name)


@pytest.mark.netns
class TestWithTheKernel:
    def test_where_no_thread_can_be_started(self, netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was committed holds, and nothing stays open."""

        def too_many(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        def in_use() -> set[str]:
            """What of this process's descriptors and children there is."""
            children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
            return {f"child {child}" for child in children} | {
                file.name for file in Path("/proc/self/fd").iterdir()
            }

        before = in_use()
        monkeypatch.setattr(threading.Thread, "start", too_many)
        nft.replace_table(TABLE)
        assert nft.harm_done_to(TABLE) == ""
        assert in_use() <= before

    def test_a_refused_transaction_changes_nothing(self, netns: Netns) -> None:
        nft.replace_table(TABLE)
        before = sh("nft -a list ruleset")
        broken = NftTable("nconnect_home", chains=(NftChain("x", "filter", "no-such-hook", 0, ()),))
        with pytest.raises(HostError, match="nft could not change our table"):
            nft.replace_table(broken)
        assert sh("nft -a list ruleset") == before

    def test_what_a_map_does_not_hold_is_dropped(self, netns: Netns) -> None:
        nft.replace_table(TABLE)
        assert "elements = { * : drop }" in sh("nft list maps")

    def test_more_commands_are_of_the_same_transaction(self, netns: Netns) -> None:
        nft.replace_table(TABLE)
        before = sh("nft -a list ruleset")
        with pytest.raises(HostError, match="nft could not change our table"):
            nft.replace_table(TABLE, [{"delete": {"chain": {"family": "inet", "table": "no", "name": "no"}}}])
        assert sh("nft -a list ruleset") == before

    def test_a_table_is_deleted_once(self, netns: Netns) -> None:
        sh("nft add table inet theirs")
        nft.replace_table(TABLE)
        assert nft.delete_table("nconnect_home")
        assert not nft.delete_table("nconnect_home")
        assert sh("nft list tables") == "table inet theirs\n"

    @pytest.mark.parametrize(
        ("harm", "told"),
        [
            ("add rule inet theirs c drop", ""),
            ("delete table inet nconnect_home", "removed our nftables table"),
            ("flush table inet nconnect_home", CHANGED),
            ("flush chain inet nconnect_home forward", CHANGED),
            ("insert rule inet nconnect_home forward drop", CHANGED),
        ],
    )
    def test_what_somebody_did_to_our_table_is_found(self, netns: Netns, harm: str, told: str) -> None:
        sh("nft 'add table inet theirs; add chain inet theirs c'")
        nft.replace_table(TABLE)
        assert nft.harm_done_to(TABLE) == ""
        sh(f"nft {harm}")
        assert nft.harm_done_to(TABLE) == told
