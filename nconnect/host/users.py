"""The users whose rules stand in the kernel, and what a change does to them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from nconnect.host import userchains
from nconnect.host.nft import Command
from nconnect.host.user_rules import Address, UserRules
from nconnect.host.userchains import Targets, by_chain


@dataclass(frozen=True)
class UserChange:
    gone: tuple[UserRules, ...] = ()
    """As they stand in the kernel."""
    new: tuple[UserRules, ...] = ()
    """In the place of nothing, or of those who are gone."""
    unused: tuple[Targets, ...] = ()
    """Grants that nobody has any more."""
    used: tuple[Targets, ...] = ()
    """Grants that nobody had before."""

    def commands(self, table: str) -> list[Command]:
        """One transaction. Removed first: what is new may have the same address."""
        # Who has the same rate as before is counted on: a user causes changes as well, by other mappings.
        before = {(user.addresses[0], user.rate) for user in self.gone}
        after = {(user.addresses[0], user.rate) for user in self.new}
        ended = [user for user in self.gone if (user.addresses[0], user.rate) not in after]
        begun = [user for user in self.new if (user.addresses[0], user.rate) not in before]
        old = {user.addresses: user for user in self.gone}
        new = {user.addresses: user for user in self.new}
        deleted = (userchains.delete_user(table, user, new.get(lease)) for lease, user in old.items())
        added = (userchains.add_user(table, user, old.get(lease)) for lease, user in new.items())
        return [
            *itertools.chain.from_iterable(deleted),
            *(one for user in ended for one in userchains.delete_rate(table, user)),
            *(one for user in begun for one in userchains.add_rate(table, user)),
            *(one for targets in self.unused for one in userchains.delete_grant(table, targets)),
            *(one for targets in self.used for one in userchains.add_grant(table, targets)),
            *itertools.chain.from_iterable(added),
        ]


class Users:
    """Rules by leased address; a value, so that a change that the kernel refuses is forgotten."""

    def __init__(self) -> None:
        self._by_address: dict[Address, UserRules] = {}
        self._grants = Counter[Targets]()
        """How many users have each."""

    @property
    def addresses(self) -> Collection[Address]:
        """All leased addresses."""
        return self._by_address.keys()

    def commands(self, table: str) -> list[Command]:
        """What makes them all, in a table that has none."""
        return Users().plan(self._by_address.values(), ()).commands(table)

    def plan(self, changed: Iterable[UserRules], remove: Iterable[Address]) -> UserChange:
        """What to do so that users have the rules `changed`, and those with an address of `remove` none."""
        wanted = {user.addresses: user for user in changed}
        leases = (*wanted, tuple(remove))
        found = (self._by_address.get(address) for lease in leases for address in lease)
        present = dict.fromkeys(user for user in found if user is not None)
        gone = tuple(user for user in present if wanted.get(user.addresses) != user)
        new = tuple(user for user in wanted.values() if user not in present)
        left, came = Counter(map(by_chain, gone)), Counter(map(by_chain, new))
        return UserChange(
            gone,
            new,
            tuple(one for one, users in left.items() if self._grants[one] == users and one not in came),
            tuple(one for one in came if one not in self._grants),
        )

    def after(self, change: UserChange) -> Users:
        """The users once `change` is made."""
        users = Users()
        users._by_address, users._grants = self._by_address.copy(), self._grants.copy()
        for user in change.gone:
            users._grants[by_chain(user)] -= 1
            for address in user.addresses:
                del users._by_address[address]
        for user in change.new:
            users._grants[by_chain(user)] += 1
            users._by_address.update(dict.fromkeys(user.addresses, user))
        for targets in change.unused:
            del users._grants[targets]
        return users
