"""What happens to nftables: tables, chains and rules that are removed, by whomever.

A restart of nftables flushes all tables. Until ours is back nobody is kept out, and answers of the LAN meet a
machine that has forgotten whom they are for, and resets their connections.
Source: linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

from collections.abc import Callable

from nconnect.host.nfnetlink import NETLINK_NETFILTER, messages
from nconnect.host.nftables import NFNL_SUBSYS_NFTABLES, NFTABLES_GROUP
from nconnect.host.notices import Notices

# NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE.
REMOVALS = frozenset(NFNL_SUBSYS_NFTABLES << 8 | kind for kind in (2, 5, 8))


class FirewallEvents(Notices):
    """Calls `on_removed` at once when something of nftables is removed, be it ours or not."""

    def __init__(self, on_removed: Callable[[], None]) -> None:
        super().__init__(NETLINK_NETFILTER, NFTABLES_GROUP, on_removed, subject="nftables", counts=_removes)


def _removes(datagram: bytes) -> bool:
    """Whether one of its messages tells of something that is gone."""
    return any(kind in REMOVALS for kind, _ in messages(datagram))
