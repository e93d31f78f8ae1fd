"""Other people's firewalls that drop what we forward: found, named, explained, not touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nconnect.errors import HostError
from nconnect.host import forward, nft
from nconnect.host.forward import ForwardDrop, Unread

from .namespaces import Netns, sh

# Named as Docker, ufw and firewalld name theirs.
IPTABLES = """
nft add table ip filter
nft add chain ip filter FORWARD '{{ type filter hook forward priority 0; policy {policy}; }}'
nft add chain ip filter INPUT '{{ type filter hook input priority 0; policy drop; }}'
{more}
"""


def forward_drop(link: str) -> list[ForwardDrop]:
    """What was found, where all could be read."""
    found = forward.forward_drop(link)
    assert not any(isinstance(one, Unread) for one in found), found
    return [one for one in found if isinstance(one, ForwardDrop)]


def iptables(policy: str = "drop", more: str = "") -> None:
    sh(IPTABLES.format(policy=policy, more=more))


@pytest.mark.netns
class TestOnAHost:
    @pytest.fixture(autouse=True)
    def host(self, netns: Netns) -> None:
        """In a namespace of its own."""

    def test_nobody_drops(self) -> None:
        assert forward_drop("nc0") == []
        iptables(policy="accept", more="nft add rule ip filter FORWARD tcp dport 25 drop")
        assert forward_drop("nc0") == []

    def test_our_own_tables_are_not_reported(self) -> None:
        sh("nft add table inet nconnect_home")
        sh("nft add chain inet nconnect_home f '{ type filter hook forward priority 0; policy drop; }'")
        assert forward_drop("nc0") == []

    def test_a_policy_of_drop(self) -> None:
        iptables()
        before = sh("nft -a list ruleset")
        (found,) = forward_drop("nc0")
        assert sh("nft -a list ruleset") == before
        assert (found.owner, found.chain) == ("a firewall", "ip filter FORWARD")
        assert found.commands == (
            "iptables -I FORWARD -i nc0 -j ACCEPT",
            "iptables -I FORWARD -o nc0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        )
        assert str(found).startswith("a firewall drops forwarded packets (ip filter FORWARD)")
        assert "\n" not in str(found)

    def test_docker(self) -> None:
        iptables(more="nft add chain ip filter DOCKER-USER; nft add rule ip filter FORWARD jump DOCKER-USER")
        (found,) = forward_drop("nc0")
        assert found.owner == "Docker"
        assert found.commands[0] == "iptables -I DOCKER-USER -i nc0 -j ACCEPT"

    def test_ufw(self) -> None:
        iptables(more="nft add chain ip filter ufw-user-forward")
        (found,) = forward_drop("nc0")
        assert (found.owner, found.commands) == ("ufw", ("ufw route allow in on nc0",))

    def test_firewalld_rejects_by_its_last_rule(self) -> None:
        sh("nft add table inet firewalld")
        sh("nft add chain inet firewalld filter_FORWARD '{ type filter hook forward priority 10; }'")
        sh("nft add chain inet firewalld zones")
        sh("nft add rule inet firewalld filter_FORWARD ct state established accept")
        sh("nft add rule inet firewalld zones iifname eth0 accept")
        sh("nft add rule inet firewalld filter_FORWARD jump zones")
        sh("nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited")
        (found,) = forward_drop("nc0")
        assert found.owner == "firewalld"
        assert found.commands == ("firewall-cmd --zone=trusted --add-interface=nc0",)

    def test_a_drop_in_a_chain_that_all_packets_enter(self) -> None:
        sh("nft add table inet mine")
        sh("nft add chain inet mine f '{ type filter hook forward priority 0; }'")
        sh("nft add chain inet mine last; nft add rule inet mine last counter drop")
        sh("nft add chain inet mine first; nft add rule inet mine first counter return")
        sh("nft add rule inet mine f jump first; nft add rule inet mine f goto last")
        (found,) = forward_drop("nc0")
        assert found.chain == "inet mine f"

    def test_an_accept_before_the_drop_ends_the_search(self) -> None:
        sh("nft add table inet mine")
        sh("nft add chain inet mine f '{ type filter hook forward priority 0; }'")
        sh("nft add rule inet mine f accept; nft add rule inet mine f drop")
        assert forward_drop("nc0") == []

    def test_the_commands_for_a_table_of_nft_are_right(self) -> None:
        sh("nft add table inet mine")
        sh("nft add chain inet mine f '{ type filter hook forward priority 0; policy drop; }'")
        (found,) = forward_drop("nc0")
        for command in found.commands:
            sh(f"set -f; {command}".replace('"nc0"', '\\"nc0\\"'))
        assert forward_drop("nc0") == []
        assert [one.chain for one in forward_drop("nc1")] == ["inet mine f"]

    def test_both_versions_are_reported(self) -> None:
        iptables()
        sh("nft add table ip6 filter")
        sh("nft add chain ip6 filter FORWARD '{ type filter hook forward priority 0; policy drop; }'")
        found = forward_drop("nc0")
        assert [one.chain for one in found] == ["ip filter FORWARD", "ip6 filter FORWARD"]
        assert found[1].commands[0].startswith("ip6tables ")


def base(family: str, policy: str) -> dict[str, Any]:
    chain = {"family": family, "table": "filter", "name": "FORWARD", "policy": policy}
    return {"chain": {**chain, "handle": 1, "type": "filter", "hook": "forward", "prio": 0}}


def rule(*expressions: object, chain: str = "FORWARD") -> dict[str, Any]:
    return {
        "rule": {"family": "ip", "table": "filter", "chain": chain, "handle": 2, "expr": list(expressions)}
    }


# As nft 1.0.6 prints what iptables-nft 1.8.9 made; "xt" stands for an extension that nft has no words for.
COUNTER = {"counter": {"packets": 0, "bytes": 0}}
CAME_IN = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "nc*"}}
CONNTRACK = {"xt": {"type": "match", "name": "conntrack"}}
REJECT = {"xt": {"type": "target", "name": "REJECT"}}


@pytest.mark.parametrize(
    ("policy", "rules", "dropped"),
    [
        ("drop", [], True),
        ("drop", [rule(CAME_IN, COUNTER, {"accept": None})], False),
        ("drop", [rule(CAME_IN, COUNTER, REJECT)], True),
        ("accept", [rule(COUNTER, REJECT)], True),
        ("accept", [rule(CONNTRACK, COUNTER, REJECT)], False),
        ("accept", [rule(CONNTRACK, COUNTER, {"accept": None}), rule(COUNTER, {"drop": None})], True),
        (
            "accept",
            [rule({"jump": {"target": "A"}}), rule({"jump": {"target": "FORWARD"}}, chain="A")],
            False,
        ),
        ("accept", [rule({"xt": None}, COUNTER, {"drop": None})], False),
    ],
)
def test_tables_of_iptables_nft(
    monkeypatch: pytest.MonkeyPatch, policy: str, rules: list[Any], dropped: bool
) -> None:
    def query(*words: str) -> list[dict[str, Any]]:
        return [base("ip", policy)] if words == ("chains",) else [base("ip", policy), *rules]

    monkeypatch.setattr(nft, "query", query)
    monkeypatch.setattr(forward, "LEGACY_TABLES", {})
    assert bool(forward_drop("nc0")) is dropped


LEGACY = "-P INPUT ACCEPT\n-P FORWARD {policy}\n-P OUTPUT ACCEPT\n-N {chain}\n-A FORWARD -j {chain}\n"


@pytest.mark.parametrize(
    ("output", "tables", "owner"),
    [
        (LEGACY.format(policy="DROP", chain="DOCKER-USER"), "filter\n", "Docker"),
        (LEGACY.format(policy="DROP", chain="x"), "nat\nfilter\n", "a firewall"),
        (LEGACY.format(policy="ACCEPT", chain="x"), "filter\n", None),
        (LEGACY.format(policy="DROP", chain="x") + "-A x -i nc0 -j ACCEPT\n", "filter\n", None),
        (LEGACY.format(policy="DROP", chain="x"), "nat\n", None),
        (LEGACY.format(policy="DROP", chain="x"), None, None),
    ],
)
def test_tables_of_iptables_legacy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, tables: str | None, owner: str | None
) -> None:
    program, listed = tmp_path / "iptables-legacy", tmp_path / "ip_tables_names"
    program.write_text(f"#!/bin/sh\n/bin/cat <<'EOF'\n{output}EOF\n")
    program.chmod(0o755)
    if tables is not None:
        listed.write_text(tables)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(forward, "LEGACY_TABLES", {"iptables-legacy": listed})
    monkeypatch.setattr(nft, "query", lambda *_: [])
    found = forward_drop("nc0")
    assert [one.owner for one in found] == ([owner] if owner else [])
    if owner:
        assert found[0].commands[0].startswith("iptables-legacy -I ")


def test_a_table_that_cannot_be_listed_is_told_and_the_others_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def query(*words: str) -> list[dict[str, Any]]:
        if words == ("chains",):
            return [base("ip", "drop"), base("ip6", "drop")]
        if words[1] == "ip":
            raise HostError("nft could not list table ip filter: it is of the future")
        return [base("ip6", "drop")]

    monkeypatch.setattr(nft, "query", query)
    monkeypatch.setattr(forward, "LEGACY_TABLES", {})
    unread, drop = forward.forward_drop("nc0")
    assert str(unread) == (
        "cannot tell whether another firewall drops forwarded packets: "
        "nft could not list table ip filter: it is of the future"
    )
    assert isinstance(drop, ForwardDrop)
    assert drop.chain == "ip6 filter FORWARD"


@pytest.mark.parametrize(
    ("script", "reason"),
    [("exec /bin/sleep 60", "timed out after"), ("exit 4", "exit status 4"), (None, "Permission denied")],
)
def test_an_iptables_that_does_not_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, reason: str
) -> None:
    program, listed = tmp_path / "iptables-legacy", tmp_path / "ip_tables_names"
    program.write_text(f"#!/bin/sh\n{script}\n" if script else f"#!{tmp_path}\n")
    program.chmod(0o755)
    listed.write_text("filter\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(forward, "LEGACY_TABLES", {"iptables-legacy": listed})
    monkeypatch.setattr(forward, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(nft, "query", lambda *_: [])
    (unread,) = forward.forward_drop("nc0")
    assert isinstance(unread, Unread)
    assert reason in str(unread) and "\n" not in str(unread)
