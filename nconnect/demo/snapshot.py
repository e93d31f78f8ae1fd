"""The network state of one party as text, to be compared before and after."""

from __future__ import annotations

import difflib

from nconnect.demo.lab import Lab, Party

# Everything that nconnect may change, each as the tool that an administrator would ask.
COMMANDS = (
    "ip -d address",
    "ip -4 route show table all",
    "ip -6 route show table all",
    "ip -4 rule",
    "ip -6 rule",
    "nft list ruleset",
)
# With those of each interface, for the kernel or a careless program may set them by way of `all`.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/*/forwarding",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv4/conf/*/src_valid_mark",
    "net/ipv4/conf/*/send_redirects",
    "net/ipv4/conf/*/route_localnet",
    "net/ipv6/conf/*/forwarding",
    "net/ipv6/conf/*/disable_ipv6",
    "net/ipv6/conf/*/accept_ra",
)
SCRIPT = "\n".join(
    [
        *(f"echo '# {command}'; {command}" for command in COMMANDS),
        "echo '# sysctl'",
        "cd /proc/sys",
        f"grep . {' '.join(SYSCTLS)}",
    ]
)


async def host_state(lab: Lab, party: Party) -> str:
    """Interfaces, addresses, routes and rules of both families, nftables and sysctls of the party's
    namespace. Two equal states are equal text.
    """
    return (await lab.run(party, ["sh", "-e", "-c", SCRIPT])).stdout


def difference(before: str, after: str) -> str:
    """What changed, as a unified diff; empty if nothing did."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", n=0, lineterm="")
    return "\n".join(lines)
