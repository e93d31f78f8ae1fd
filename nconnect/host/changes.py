"""The changes that an instance makes to the host: each can be written down, made, and reverted.

`make` is idempotent; `revert` is for a host on which the change was made, was never made (the crash came
between journal and kernel), or has gone by itself (addresses and routes go with their link).
Only our own things are touched: a link by its index (a later owner of the name is not ours), routes in our
own table, rules to that table, the nftables table of our name, a sysctl while it has our value, and our lines
of resolv.conf.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

import msgspec

from nconnect.host import nft, resolvconf, sysctl
from nconnect.host.desired import DesiredState, Route, RouteKind, Rule
from nconnect.host.netlink import Netlink

# Super-packets that wait for us. The default of 500 is full after two flights of 200 parallel connections.
QUEUE_PACKETS = 1000


class Outcome(enum.Enum):
    """What became of a change that was reverted."""

    NOTHING = "nothing to undo"
    DONE = "undone"
    GONE = "gone already"
    LEFT = "left, somebody changed it since"


class Change(msgspec.Struct, frozen=True, tag_field="change"):
    """A change; two with the same key are the same thing with another value."""

    @property
    def key(self) -> tuple[object, ...]:
        raise NotImplementedError

    def make(self, netlink: Netlink) -> None:
        raise NotImplementedError

    def restore(self, netlink: Netlink) -> bool:
        """Make what was made before once more; False if nobody had touched it."""
        raise NotImplementedError

    def revert(self, netlink: Netlink) -> Outcome:
        raise NotImplementedError


class TableMade(Change, frozen=True, tag="table"):
    """Our nftables table; its rules need not be known to delete it, so the journal has its name only."""

    table: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("table", self.table)

    def make(self, netlink: Netlink) -> None:
        """Nothing: the manager, which knows the rules, puts them in place before all other changes."""

    def restore(self, netlink: Netlink) -> bool:
        """Nothing, for the same reason."""
        return False

    def revert(self, netlink: Netlink) -> Outcome:
        return _outcome(nft.delete_table(self.table))

    def __str__(self) -> str:
        return f"nftables table {nft.FAMILY} {self.table}"


class SysctlSet(Change, frozen=True, tag="sysctl"):
    name: str
    old: str
    new: str
    side_effects: dict[str, str] = {}
    """Switches that the kernel changes with this one, and their old values."""

    @property
    def key(self) -> tuple[object, ...]:
        return ("sysctl", self.name)

    def make(self, netlink: Netlink) -> None:
        sysctl.set_to(self.name, self.new)

    def restore(self, netlink: Netlink) -> bool:
        if sysctl.read(self.name) in (self.new, None):
            return False
        sysctl.set_to(self.name, self.new)
        return True

    def revert(self, netlink: Netlink) -> Outcome:
        now = sysctl.read(self.name)
        if self.old == self.new:
            return Outcome.NOTHING
        if now is None:
            return Outcome.GONE
        if now != self.new:
            return Outcome.GONE if now == self.old else Outcome.LEFT
        sysctl.write(self.name, self.old)
        for name, old in self.side_effects.items():
            if sysctl.read(name) not in (old, None):
                sysctl.write(name, old)
        return Outcome.DONE

    def __str__(self) -> str:
        return f"sysctl {self.name} = {self.new}, before {self.old}"


class LinkUp(Change, frozen=True, tag="link"):
    link: str
    index: int
    mtu: int
    sysctls: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        return ("link", self.link)

    def make(self, netlink: Netlink) -> None:
        # In this order: below 1280 bytes a link has no IPv6, and its switches are not there to be set.
        netlink.set_size(self.link, self.mtu, QUEUE_PACKETS)
        for name, value in self.sysctls:
            sysctl.set_to(name, value)
        netlink.set_up(self.link)

    def restore(self, netlink: Netlink) -> bool:
        if netlink.is_up(self.link):
            return False
        self.make(netlink)
        return True

    def revert(self, netlink: Netlink) -> Outcome:
        return _outcome(netlink.index(self.link) == self.index and netlink.set_down(self.link))

    def __str__(self) -> str:
        return f"link {self.link} up"


class AddressAdded(Change, frozen=True, tag="address"):
    link: str
    index: int
    address: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("address", self.link, self.address)

    def make(self, netlink: Netlink) -> None:
        netlink.add_address(self.link, self.address)

    def restore(self, netlink: Netlink) -> bool:
        return netlink.add_address(self.link, self.address)

    def revert(self, netlink: Netlink) -> Outcome:
        ours = netlink.index(self.link) == self.index
        return _outcome(ours and netlink.remove_address(self.link, self.address))

    def __str__(self) -> str:
        return f"address {self.address} of {self.link}"


class RouteAdded(Change, frozen=True, tag="route"):
    link: str
    prefix: str
    table: int
    kind: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("route", self.table, self.prefix, self.kind == RouteKind.UNREACHABLE)

    def make(self, netlink: Netlink) -> None:
        netlink.set_route(self.prefix, self.table, self.kind, self.link)

    def restore(self, netlink: Netlink) -> bool:
        # To replace a route by itself would be a change of the network for those who listen, ourselves too.
        return netlink.add_route(self.prefix, self.table, self.kind, self.link)

    def revert(self, netlink: Netlink) -> Outcome:
        return _outcome(netlink.remove_route(self.prefix, self.table, self.kind))

    def __str__(self) -> str:
        return f"{self.kind} route {self.prefix} of table {self.table}"


class RuleAdded(Change, frozen=True, tag="rule"):
    priority: int
    table: int
    version: int
    fwmark: int
    invert: bool

    @property
    def key(self) -> tuple[object, ...]:
        return ("rule", self.priority, self.table, self.version, self.fwmark, self.invert)

    def make(self, netlink: Netlink) -> None:
        netlink.add_rule(self.priority, self.table, self.version, self.fwmark, self.invert)

    def restore(self, netlink: Netlink) -> bool:
        return netlink.add_rule(self.priority, self.table, self.version, self.fwmark, self.invert)

    def revert(self, netlink: Netlink) -> Outcome:
        return _outcome(
            netlink.remove_rule(self.priority, self.table, self.version, self.fwmark, self.invert)
        )

    def __str__(self) -> str:
        return f"IPv{self.version} rule {self.priority} to table {self.table}"


class ResolverSet(Change, frozen=True, tag="resolver"):
    """Our resolver in resolv.conf: the one change that outlives the machine's run."""

    instance: str
    address: str

    @property
    def key(self) -> tuple[object, ...]:
        return ("resolver",)

    def make(self, netlink: Netlink) -> None:
        resolvconf.insert(self.instance, self.address)

    def restore(self, netlink: Netlink) -> bool:
        return resolvconf.insert(self.instance, self.address)

    def revert(self, netlink: Netlink) -> Outcome:
        return _outcome(resolvconf.remove(self.instance))

    def __str__(self) -> str:
        return f"resolver {self.address} in {resolvconf.PATH}"


AnyChange = TableMade | SysctlSet | LinkUp | AddressAdded | RouteAdded | RuleAdded | ResolverSet


def table_changes(desired: DesiredState) -> Iterator[AnyChange]:
    if desired.nft is not None:
        yield TableMade(desired.nft.name)


def without_idle_limits(table: nft.NftTable | None, changes: Iterable[AnyChange]) -> nft.NftTable | None:
    """`table` without the chains that limit a sysctl which these changes leave as it was."""
    changed = {one.name for one in changes if isinstance(one, SysctlSet) and one.old != one.new}
    if table is None:
        return None
    return replace(table, chains=tuple(one for one in table.chains if one.limits in ("", *changed)))


def link_changes(desired: DesiredState, index: int) -> Iterator[AnyChange]:
    """What of `desired` follows the firewall and sysctls, in the order to make it; `index` is the link's."""
    yield LinkUp(desired.link, index, desired.mtu, desired.link_sysctls)
    for address in desired.addresses:
        yield AddressAdded(desired.link, index, str(address))
    yield from routing_changes(desired.link, desired.routes, desired.rules)
    if desired.resolver:
        yield ResolverSet(desired.instance, desired.resolver)


def routing_changes(link: str, routes: Iterable[Route], rules: Iterable[Rule]) -> Iterator[AnyChange]:
    """Routes, and the rules that send packets there behind them."""
    for route in routes:
        yield RouteAdded(link, str(route.prefix), route.table, route.kind.value)
    for rule in rules:
        yield RuleAdded(rule.priority, rule.table, rule.version, rule.fwmark, rule.invert)


def keeping_closed(changes: Iterable[AnyChange], but: Collection[str] = ()) -> list[AnyChange]:
    """Those that keep an instance's prefixes from going elsewhere when it has ended: its kill switch.

    They are its unreachable routes, the routes thrown to main (networks of this machine inside a prefix stay
    in reach, `but` some) and the rules that lead there. Empty if it has no kill switch.
    """
    kept: list[AnyChange] = [
        change
        for change in changes
        if isinstance(change, RuleAdded) or (isinstance(change, RouteAdded) and _keeps_closed(change, but))
    ]
    return kept if closed_prefixes(kept) else []


def _keeps_closed(route: RouteAdded, but: Collection[str]) -> bool:
    if route.kind == RouteKind.THROW:
        return route.prefix not in but
    return route.kind == RouteKind.UNREACHABLE


def closed_prefixes(changes: Iterable[AnyChange]) -> list[str]:
    """What is unreachable once the link of these changes is gone."""
    routes = (change for change in changes if isinstance(change, RouteAdded))
    return [route.prefix for route in routes if route.kind == RouteKind.UNREACHABLE]


def restored_lines(restored: list[AnyChange]) -> Iterator[str]:
    """What to say of changes that somebody had undone and that were made again."""
    for change in restored:
        if isinstance(change, SysctlSet):
            yield f"somebody changed the sysctl {change.name}; it is {change.new} again"
        elif isinstance(change, LinkUp):
            yield f"somebody deleted {change.link} or set it down; it is up again"
        elif isinstance(change, ResolverSet):
            yield f"somebody wrote {resolvconf.PATH}; our resolver is in it again"
    for kind in (AddressAdded, RouteAdded, RuleAdded):
        # Many go at once: with the link, or by a flush.
        if gone := [change for change in restored if isinstance(change, kind)]:
            yield f"somebody removed our {_first_of(gone)}; put back"


def outliving(changes: Iterable[AnyChange]) -> str:
    """What of these is still there once their process, and the link with it, has gone; empty: nothing."""
    found = [change for change in {one.key: one for one in changes}.values() if _outlives(change)]
    kinds = dict.fromkeys(map(type, found))
    return ", ".join(_first_of([change for change in found if type(change) is kind]) for kind in kinds)


def _outlives(change: AnyChange) -> bool:
    match change:
        case LinkUp() | AddressAdded():
            return False
        case RouteAdded():
            return change.kind != RouteKind.UNICAST
        case SysctlSet():
            return change.old != change.new
        case _:
            return True


def _first_of(changes: Sequence[AnyChange]) -> str:
    return f"{changes[0]} and {len(changes) - 1} more" if len(changes) > 1 else str(changes[0])


def _outcome(undone: bool) -> Outcome:
    return Outcome.DONE if undone else Outcome.GONE
