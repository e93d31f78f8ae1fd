"""Desired state in, changed host out: apply, change a little, undo, clean up after a crash.

::

    apply ─ compare with what was applied ─ journal what is new ─ make it ─ revert what is no longer wanted
    undo  ─ revert all, last first ─ remove the journal

The order is chosen so that no packet finds a half-open door: firewall, sysctls, link, addresses, routes,
and the rules that send packets there last.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from nconnect.errors import HostError, NconnectError, PrivilegeError
from nconnect.host import conntrack, nft, sysctl
from nconnect.host.changes import (
    AnyChange,
    Change,
    ResolverSet,
    RouteAdded,
    RuleAdded,
    SysctlSet,
    TableMade,
    closed_prefixes,
    keeping_closed,
    link_changes,
    restored_lines,
    routing_changes,
    table_changes,
    without_idle_limits,
)
from nconnect.host.desired import ClosedState, DesiredState, Route, RouteKind, Rule
from nconnect.host.journal import Journal, directory_lock
from nconnect.host.netlink import Netlink
from nconnect.host.networks import tunnelled_networks
from nconnect.host.recovery import cleanup, inherited, revert_all, sysctls_of_others
from nconnect.host.user_rules import Address, Mapping, UserRules, to_user
from nconnect.host.users import Users

logger = logging.getLogger(__name__)

__all__ = ["DesiredState", "HostManager", "Route", "RouteKind", "Rule", "cleanup"]


class HostManager:
    """Makes one instance's changes to the host, and takes them back.

    Construct (takes the journal's lock, and over what a crashed instance of this name left), `apply` as
    often as the wish changes, `undo` once. All methods block for milliseconds: call them in a thread from
    an event loop, one at a time.
    """

    def __init__(self, journal_path: Path) -> None:
        """Raises AlreadyRunningError if an instance holds the journal, HostError if it cannot be written."""
        self._made: dict[object, AnyChange] = {}
        self._journaled: dict[object, AnyChange] = {}
        self._nft: nft.NftTable | None = None
        """The table as it was put in place."""
        self._wanted_nft: nft.NftTable | None = None
        """With the chains that limit what we did not change."""
        self._users = Users()
        self._addresses: tuple[Address, ...] = ()
        """Of the link, as last applied."""
        self._directory = journal_path.parent
        self.recovered: list[str] = []
        """What became of changes that an instance of this name has left, for whoever started this one."""
        with directory_lock(self._directory):
            self._journal = Journal.lock(journal_path)
            try:
                changes, self.recovered = inherited(self._journal)
                self._journaled = {change.key: change for change in changes}
                self._journal.rewrite(self._journaled.values())
            except BaseException:
                self._journal.close()
                raise

    def apply(self, desired: DesiredState) -> None:
        """Make the host as `desired`, changing only what differs from the state applied before.

        Raises HostError or PrivilegeError; what was made until then is in the journal, `undo` takes it back.
        """
        with directory_lock(self._directory), Netlink() as netlink:
            plan = list(self._plan(desired, netlink))
            self._addresses = tuple(interface.ip for interface in desired.addresses)
            self._change(plan, netlink, desired.nft)

    def close(self, closed: ClosedState) -> None:
        """Before the first `apply`: have these routes and rules, and none that were there before.

        All else that a crashed instance of this name left stays: its connections go on. Raises as `apply`.
        """
        with directory_lock(self._directory), Netlink() as netlink:
            plan = [
                TableMade(closed.nft.name),
                *self._plan_sysctls(closed.sysctls),
                *routing_changes(closed.link, closed.routes, closed.rules),
            ]
            self._change(plan, netlink, closed.nft, instead_of=(RouteAdded, RuleAdded))

    def _change(
        self,
        plan: Iterable[AnyChange],
        netlink: Netlink,
        table: nft.NftTable | None = None,
        *,
        instead_of: tuple[type[Change], ...] = (Change,),
    ) -> None:
        """Make what is new of `plan`, once it is journaled; then revert what else there is of these kinds."""
        wanted = {change.key: change for change in plan}
        new = [change for key, change in wanted.items() if self._made.get(key) != change]
        stale = [
            change
            for key, change in self._journaled.items()
            if key not in wanted and isinstance(change, instead_of)
        ]
        replaced = [change for change in new if change.key in self._journaled]
        self._journal.append(new)
        self._journaled.update((change.key, change) for change in new)
        self._set_table(table)
        for change in new:
            change.make(netlink)
            self._made[change.key] = change
        self._drop(stale)
        if stale or replaced:
            # So that it does not grow for ever. On a full disk it says too much, which does no harm.
            with contextlib.suppress(HostError):
                self._journal.rewrite(self._journaled.values())

    def change_users(self, changed: Iterable[UserRules] = (), remove: Iterable[Address] = ()) -> None:
        """Give users these rules, and let the leases `remove` send no more; what is so already costs nothing.

        One transaction, after which the next packet is judged by the new rules. The table, and so the state
        of a gateway, must have been applied. Raises HostError or PrivilegeError: nothing is changed then.
        """
        if self._nft is None:
            raise HostError("users need the gateway's firewall: apply its state before their rules")
        change = self._users.plan(changed, remove)
        if not (change.new or change.gone):
            return
        users = self._users.after(change)
        try:
            nft.run(change.commands(self._nft.name))
        except HostError:
            # Somebody changed our table, or flushed it. Who is revoked must be out all the same.
            self._put_table(self._nft, users)
        self._users = users

    def end_translations(self, addresses: Iterable[Address], mappings: Iterable[Mapping]) -> None:
        """Have the kernel forget what these users began by names of prefixes that they do not have any more.

        `mappings` are all that they have. A connection keeps the translation that it began with and is judged
        by its name, which may be a granted address of its own by now. Raises HostError or PrivilegeError.
        """
        found = conntrack.connections_of(addresses)
        back = [mapping.back for mapping in mappings]
        conntrack.forget(
            one for one in found if one.server not in (one.destination, to_user(one.destination, back))
        )

    def refresh(self, *, unannounced: bool = False) -> list[str]:
        """Put back what somebody took back of our changes; a line for each kind of it.

        Restarting nftables flushes all tables, which would leave forwarding on and nothing that limits it;
        restarting a network manager may remove routes, `sysctl --system` sets forwarding as its files say.
        Some 10 ms; with `unannounced` only that of which no event tells: sysctls, resolv.conf, and rules that
        were put into our table.
        """
        lines, restored = list[str](), list[AnyChange]()
        with directory_lock(self._directory), Netlink() as netlink:
            if self._nft is not None and (harm := nft.harm_done_to(self._nft)):
                self._put_table(self._nft, self._users)
                lines.append(f"somebody {harm}; it is in place again")
            for change in tuple(self._made.values()):
                if unannounced and not isinstance(change, SysctlSet | ResolverSet):
                    continue
                try:
                    self._note_other_value(change)
                    if change.restore(netlink):
                        restored.append(change)
                except HostError as error:
                    # What cannot be had again does not keep the rest from its place.
                    lines.append(str(error))
            self._set_table(self._wanted_nft)
        return [*lines, *restored_lines(restored)]

    def _note_other_value(self, change: AnyChange) -> None:
        """A sysctl that somebody set while we need another value goes back to theirs in the end."""
        if not isinstance(change, SysctlSet):
            return
        found = sysctl.read(change.name)
        if found in (change.new, change.old, None):
            return
        noted = SysctlSet(change.name, found, change.new, sysctl.side_effects(change.name))
        self._journal.append([noted])
        self._made[noted.key] = self._journaled[noted.key] = noted

    def undo(self, *, keep_closed: bool = False) -> list[str]:
        """Take back every change, last first, and remove the journal; lines tell what was not as expected.

        With `keep_closed` a kill switch stays, and in the journal, until the next start or a cleanup.
        Call it before the TUN device is closed. The object is of no use afterwards.
        """
        with directory_lock(self._directory):
            changes = tuple(self._journaled.values())
            kept, not_kept = self._keep_closed(changes) if keep_closed else ([], [])
            report = revert_all((one for one in changes if one not in kept), self._journal.path)
            self._made, self._journaled, self._nft, self._users = {}, {}, None, Users()
            if kept or report.remaining:
                # A full disk leaves the journal as it was, with changes that are then found gone.
                with contextlib.suppress(HostError):
                    self._journal.rewrite([*report.remaining, *kept])
                self._journal.close()
            else:
                self._journal.remove()
        gone = (f"gone already: {text}" for text in report.gone)
        return [*not_kept, *gone, *report.left, *report.failed]

    def _keep_closed(self, changes: Iterable[AnyChange]) -> tuple[list[AnyChange], list[str]]:
        """What stays of `changes` for a kill switch, made again where it is not there; and what cannot be.

        What another tunnel carries is left to it no longer: when that ends it would be open.
        """
        carried = {str(one.prefix) for one in tunnelled_networks()}
        kept, lines = keeping_closed(changes, carried), list[str]()
        with Netlink() as netlink:
            for change in kept:
                try:
                    change.restore(netlink)
                except NconnectError as error:
                    lines.append(f"{change} is not there: {error}")
        return kept, lines

    @property
    def limits_forwarding(self) -> bool:
        """Whether it is we who made this machine forward, which our table limits."""
        return self._nft is not None and any(chain.limits for chain in self._nft.chains)

    @property
    def closed(self) -> list[str]:
        """The prefixes that lead nowhere if the link goes: those of a kill switch."""
        return closed_prefixes(self._journaled.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def _plan(self, desired: DesiredState, netlink: Netlink) -> Iterator[AnyChange]:
        index = netlink.index(desired.link)
        if index is None:
            raise HostError(f"interface {desired.link} is not there: open the TUN device before its state")
        yield from table_changes(desired)
        yield from self._plan_sysctls(desired.sysctls)
        yield from link_changes(desired, index)

    def _plan_sysctls(self, wanted: Sequence[tuple[str, str]]) -> Iterator[SysctlSet]:
        others = sysctls_of_others(self._journal.path) if wanted else {}
        for name, value in wanted:
            yield self._plan_sysctl(name, value, others)

    def _plan_sysctl(self, name: str, value: str, others: dict[str, SysctlSet]) -> SysctlSet:
        before = self._journaled.get(("sysctl", name)) or others.get(name)
        if isinstance(before, SysctlSet):
            # Ours or another instance's: the value to go back to is the one from before the first of us.
            return SysctlSet(name, before.old, value, before.side_effects)
        now = sysctl.read(name)
        if now is None:
            raise HostError(f"cannot set {name}: this kernel has no such sysctl")
        return SysctlSet(name, now, value, sysctl.side_effects(name) if now != value else {})

    def _set_table(self, wanted: nft.NftTable | None) -> None:
        self._wanted_nft = wanted
        table = without_idle_limits(wanted, self._journaled.values())
        if table is not None and table != self._nft:
            self._put_table(table, self._users)
            self._nft = table

    def _put_table(self, table: nft.NftTable, users: Users) -> None:
        nft.replace_table(table, users.commands(table.name))
        # The table's rules ask of which connection a packet is, and without a table that asks the kernel may
        # not have followed those that there are.
        try:
            conntrack.trust_numbers(conntrack.connections_of([*self._addresses, *users.addresses]))
        except (HostError, PrivilegeError) as error:
            logger.debug("connections from before the table may stand still: %s", error)

    def _drop(self, stale: list[AnyChange]) -> None:
        report = revert_all(stale, self._journal.path)
        if report.failed:
            raise HostError("; ".join(report.failed))
        for change in stale:
            del self._journaled[change.key]
            self._made.pop(change.key, None)
            if isinstance(change, TableMade):
                self._nft, self._users = None, Users()
