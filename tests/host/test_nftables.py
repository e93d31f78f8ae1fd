"""Whether our table is there, asked of the kernel directly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nconnect.host.nftables import Commits, count_rules, table_exists

from .namespaces import Netns, sh

pytestmark = pytest.mark.netns


def test_a_table_of_our_name_and_family_only(netns: Netns) -> None:
    assert not table_exists("nconnect_home")
    sh("nft add table ip nconnect_home; nft add table inet nconnect_home2")
    assert not table_exists("nconnect_home")
    sh("nft add table inet nconnect_home")
    assert table_exists("nconnect_home")
    sh("nft flush ruleset")
    assert not table_exists("nconnect_home")


def test_the_rules_of_one_chain_are_counted(netns: Netns) -> None:
    assert count_rules("nconnect_home", "c") == 0
    sh("nft 'add table inet nconnect_home; add chain inet nconnect_home c; add chain inet nconnect_home d'")
    assert count_rules("nconnect_home", "c") == 0
    # More than one answer holds.
    many = 1000
    script = "\n".join(["add rule inet nconnect_home c ip saddr 192.0.2.1 counter accept"] * many)
    sh(f"nft -f - <<'END'\nadd rule inet nconnect_home d drop\n{script}\nEND")
    assert count_rules("nconnect_home", "c") == many
    assert count_rules("nconnect_home", "d") == 1
    sh("nft flush table inet nconnect_home")
    assert count_rules("nconnect_home", "c") == 0


ASKING = """
from nconnect.errors import PrivilegeError
from nconnect.host.nftables import table_exists
try:
    table_exists("nconnect_home")
except PrivilegeError as error:
    print(error)
"""


def test_who_may_not_ask_is_told_so() -> None:
    drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    command = [*drop, sys.executable, "-c", ASKING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "look for our nftables table" in done.stdout


def test_a_transaction_is_known_to_hold_before_nft_ends(netns: Netns) -> None:
    with Commits() as commits, subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as other:
        with subprocess.Popen(["nft", "add table inet theirs"], stderr=subprocess.PIPE) as nft:
            assert nft.stderr is not None
            assert commits.wait(nft.pid, nft.stderr.fileno(), 20.0)
            assert "inet theirs" in sh("nft list tables")
        # What one process committed says nothing of another's.
        sh("nft add table inet ours")
        assert other.stdout is not None
        other.kill()
        assert not commits.wait(other.pid, other.stdout.fileno(), 20.0)


def test_a_transaction_that_fails_is_never_said_to_hold(netns: Netns) -> None:
    with (
        Commits() as commits,
        subprocess.Popen(["nft", "delete table inet no"], stderr=subprocess.PIPE) as nft,
    ):
        assert nft.stderr is not None
        assert not commits.wait(nft.pid, nft.stderr.fileno(), 20.0)


def test_more_commits_than_can_be_told_leave_it_open(netns: Netns) -> None:
    with Commits() as commits, subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        elements = ", ".join(f"10.0.{number >> 8}.{number & 255}" for number in range(20_000))
        script = f"add table inet t; add set inet t s {{ type ipv4_addr; elements = {{ {elements} }}; }}"
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
        assert not commits.wait(other.pid, other.stdout.fileno(), 20.0)
        other.kill()
