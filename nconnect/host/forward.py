"""Who else on this machine drops forwarded packets: Docker, ufw, firewalld, libvirt or the owner's rules.

A packet passes the forward hook only if no table drops it, so our own "accept" cannot outvote a policy of
drop. Other people's tables are not ours to change: the provider is told which command lets our link pass.
Sources: nft(8); Docker's "Packet filtering and firewalls" (DOCKER-USER); ufw(8) (route rules).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nconnect.errors import HostError, PrivilegeError
from nconnect.host import nft
from nconnect.host.nft import SYSTEM_PATH, TABLE_PREFIX, TIMEOUT_S

FORWARDING_FAMILIES = ("ip", "ip6", "inet")
# The kernel lists the tables of iptables-legacy here, if its module is loaded.
LEGACY_TABLES = {
    "iptables-legacy": Path("/proc/thread-self/net/ip_tables_names"),
    "ip6tables-legacy": Path("/proc/thread-self/net/ip6_tables_names"),
}
# How nft 1.0.6 prints the REJECT of iptables-nft.
XT_REJECT = {"type": "target", "name": "REJECT"}

Object = dict[str, Any]


@dataclass(frozen=True)
class ForwardDrop:
    """A chain that drops what our link forwards."""

    chain: str
    """Where: `ip filter FORWARD`."""
    owner: str
    """Whose it is, as far as its chains tell: `Docker`, `ufw`, `firewalld` or `a firewall`."""
    commands: tuple[str, ...]
    """What to type to let our link pass."""

    def __str__(self) -> str:
        commands = "; ".join(self.commands)
        return (
            f"{self.owner} drops forwarded packets ({self.chain}), so users cannot reach the LAN: {commands}"
        )


@dataclass(frozen=True)
class Unread:
    """Somebody's rules that could not be read, so they may drop or not."""

    reason: str

    def __str__(self) -> str:
        return f"cannot tell whether another firewall drops forwarded packets: {self.reason}"


def forward_drop(link: str) -> list[ForwardDrop | Unread]:
    """The chains that drop what comes in or goes out by `link`, and have no rule that lets it pass.

    Reads only, and raises nothing for what cannot be read: this is advice, packets may pass all the same.
    A rule counts as letting the link pass if it names the link and accepts.
    """
    return [*_drops_of_nft(link), *_legacy_drops(link)]


def _drops_of_nft(link: str) -> Iterator[ForwardDrop | Unread]:
    try:
        chains = [one["chain"] for one in nft.query("chains") if "chain" in one]
    except (HostError, PrivilegeError) as error:
        yield Unread(str(error))
        return
    hooked = [one for one in chains if one.get("hook") == "forward" and one["family"] in FORWARDING_FAMILIES]
    for base in hooked:
        if base["table"].startswith(TABLE_PREFIX):
            continue
        try:
            objects = nft.query("table", base["family"], base["table"])
        except (HostError, PrivilegeError) as error:
            yield Unread(str(error))
            continue
        rules = [one["rule"] for one in objects if "rule" in one]
        if _drops(base, rules) and not any(_lets_pass(rule, link) for rule in rules):
            names = {one["name"] for one in chains if _table_of(one) == _table_of(base)}
            yield _explain(base, names, link)


def _drops(base: Object, rules: list[Object]) -> bool:
    """True if a packet that no rule names ends in a drop: by policy, or by a last rule without conditions."""
    return base.get("policy") == "drop" or _falls_through_to_drop(base["name"], rules, seen=set())


def _falls_through_to_drop(chain: str, rules: list[Object], seen: set[str]) -> bool:
    if chain in seen:
        return False
    seen.add(chain)
    for rule in rules:
        if rule["chain"] != chain or any(_is_condition(one) for one in rule["expr"]):
            continue
        for one in rule["expr"]:
            if "drop" in one or "reject" in one or one.get("xt") == XT_REJECT:
                return True
            if "accept" in one or "return" in one:
                return False
            target = one.get("jump") or one.get("goto")
            if target and _falls_through_to_drop(target["target"], rules, seen):
                return True
    return False


def _is_condition(expression: Object) -> bool:
    # An nft that was built without xtables prints null, whatever the extension.
    return "match" in expression or ("xt" in expression and (expression["xt"] or {}).get("type") != "target")


def _lets_pass(rule: Object, link: str) -> bool:
    return any("accept" in one for one in rule["expr"]) and any(
        _names_link(one["match"], link) for one in rule["expr"] if "match" in one
    )


def _names_link(match: Object, link: str) -> bool:
    left, right = match.get("left"), match.get("right")
    incoming = isinstance(left, dict) and left.get("meta") == {"key": "iifname"}
    # iptables' "nc+" is shown as "nc*".
    return incoming and isinstance(right, str) and match.get("op") == "==" and fnmatchcase(link, right)


def _table_of(chain: Object) -> tuple[str, str]:
    return chain["family"], chain["table"]


def _explain(base: Object, chains: set[str], link: str) -> ForwardDrop:
    family, table, chain = base["family"], base["table"], base["name"]
    where = f"{family} {table} {chain}"
    iptables = "ip6tables" if family == "ip6" else "iptables"
    if "ufw-user-forward" in chains or "ufw6-user-forward" in chains:
        return ForwardDrop(where, "ufw", (f"ufw route allow in on {link}",))
    if "DOCKER-USER" in chains:
        return ForwardDrop(where, "Docker", _iptables_commands(iptables, "DOCKER-USER", link))
    if table == "firewalld":
        return ForwardDrop(where, "firewalld", (f"firewall-cmd --zone=trusted --add-interface={link}",))
    if (table, chain) == ("filter", "FORWARD"):
        return ForwardDrop(where, "a firewall", _iptables_commands(iptables, "FORWARD", link))
    answers = f'oifname "{link}" ct state established,related accept'
    commands = (
        f'nft insert rule {where} iifname "{link}" accept',
        f"nft insert rule {where} {answers}",
    )
    return ForwardDrop(where, "a firewall", commands)


def _iptables_commands(iptables: str, chain: str, link: str) -> tuple[str, ...]:
    answers = f"-o {link} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    return (f"{iptables} -I {chain} -i {link} -j ACCEPT", f"{iptables} -I {chain} {answers}")


def _legacy_drops(link: str) -> Iterator[ForwardDrop | Unread]:
    for command, tables in LEGACY_TABLES.items():
        path = shutil.which(command, path=os.pathsep.join((os.environ.get("PATH", ""), SYSTEM_PATH)))
        try:
            if path is None or "filter" not in tables.read_text().split():
                continue
            lines = _legacy_rules(path)
        except FileNotFoundError:
            continue
        except (PermissionError, subprocess.CalledProcessError) as error:
            # It takes root and CAP_NET_RAW, neither of which is kept for this.
            yield Unread(f"{command}: {error}; look yourself: sudo {command} -S FORWARD")
            continue
        except (OSError, subprocess.SubprocessError) as error:
            yield Unread(f"{command}: {error}")
            continue
        if "-P FORWARD DROP" in lines and not legacy_lets_pass(lines, link):
            chain = "DOCKER-USER" if "-N DOCKER-USER" in lines else "FORWARD"
            owner = "Docker" if chain == "DOCKER-USER" else "a firewall"
            yield ForwardDrop(f"{command} FORWARD", owner, _iptables_commands(command, chain, link))


def _legacy_rules(path: str) -> list[str]:
    done = subprocess.run(
        [path, "-S"],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.splitlines()


def legacy_lets_pass(lines: list[str], link: str) -> bool:
    """True if a line of `iptables-legacy -S` accepts what comes in by `link`."""
    return any(f" -i {link} " in line and line.endswith("-j ACCEPT") for line in lines)
