"""The user's side of `mapping`: which of the provider's networks this machine takes as they are, and which by
another name because it has them itself, or because its user wants it so.

::

    offered 192.168.1.0/24, at home 192.168.1.0/24 (wlan0)  →  10.201.7.0/24 in packets to the provider
    offered 10.0.0.0/8, at home 10.1.2.0/24 (docker0)       →  as it is: the narrower network keeps its way

A name that was found stays for as long as the connection is wanted, also when this machine leaves the network
that was in its way: connections go on by it. The provider says which names it translates; a route to any
other would only be refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

from nconnect.errors import UsageError
from nconnect.host.networks import Connected, contains
from nconnect.tunnel import mapping, routes
from nconnect.tunnel.control import CAPABILITY_MAP, MAX_MAPPINGS, IPNetwork, Mappings, Welcome
from nconnect.tunnel.mapping import Mapping
from nconnect.tunnel.routes import Conflict

BLOCK = {4: 24, 6: 64}
"""Of narrower networks all those of one such block get names in one: the last part of an address stays."""


@dataclass(frozen=True)
class MapOptions:
    """What the user wants of names."""

    given: tuple[Mapping, ...] = ()
    """Names of the user's own choice, for offered networks or parts of them."""
    pools: tuple[IPNetwork, ...] = mapping.POOLS
    automatic: bool = True
    """Find a name for what this machine has itself; False: leave it out."""

    def __post_init__(self) -> None:
        for number, one in enumerate(self.given):
            routes.check_name(one.seen)
            for other in self.given[:number]:
                if one.real.overlaps(other.real) or one.seen.overlaps(other.seen):
                    raise UsageError(f"the mappings {other} and {one} overlap")


@dataclass(frozen=True)
class Here:
    """What this machine has."""

    networks: Sequence[Connected] = ()
    """Its own."""
    tunnels: Sequence[Connected] = ()
    """What its other tunnels lead to. Who came first keeps its part of a wider one, which leaves it to us."""
    reached: Callable[[], Collection[IPNetwork]] = tuple
    """Whatever else it reaches beside the Internet; asked only when a name is to be found."""

    def around(self, prefix: IPNetwork, *, had: bool) -> list[Connected]:
        """The networks that count where `prefix` is to be taken, or was taken before (`had`)."""
        tunnels = (one for one in self.tunnels if not (had and _is_wider(one.prefix, prefix)))
        return [*self.networks, *tunnels]


@dataclass(frozen=True)
class Choice:
    """What to do with the networks that are offered."""

    routes: tuple[IPNetwork, ...] = ()
    """Those that are taken as they are."""
    mappings: tuple[Mapping, ...] = ()
    """Those that are to have another name."""
    conflicts: tuple[Conflict, ...] = ()
    """Those that are left out."""


_NO_CHOICE = Choice()


class Remapping:
    """One provider's networks on this machine, for as long as the connection is wanted."""

    def __init__(self, options: MapOptions, provider: bytes, accept: Sequence[IPNetwork] = ()) -> None:
        """`provider` is its public key; `accept` are public prefixes that it may offer."""
        self._options = options
        self._provider = provider
        self._accept = accept
        self._choice = _NO_CHOICE
        self._told: tuple[Mapping, ...] = ()
        """What the provider knows of our wish."""
        self._in_force: tuple[Mapping, ...] = ()
        self._reason = ""
        self._unanswered = 0

    @property
    def routes(self) -> tuple[IPNetwork, ...]:
        """What to route to the provider: real prefixes, and names."""
        return (*self._choice.routes, *(one.seen for one in self.mappings))

    @property
    def wish(self) -> tuple[Mapping, ...]:
        """The names that the provider is to translate."""
        return self._choice.mappings

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """The names that it does translate."""
        return tuple(one for one in self.wish if one in self._in_force)

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """What is left out of the offered, and why."""
        refused = [one for one in self.wish if one not in self._in_force and not self._unanswered]
        reason = f"the provider gives it no other name: {self._reason or 'it does not say why'}"
        return (*self._choice.conflicts, *(Conflict(one.real, reason) for one in refused))

    @property
    def must_ask(self) -> bool:
        """Whether the provider does not know of our wish as it is now."""
        return set(self.wish) != set(self._told)

    def not_offered(self, welcome: Welcome) -> list[Mapping]:
        """Names of the user's choice that are for nothing."""
        return [one for one in self._options.given if not _is_offered(one.real, welcome)]

    def anywhere(self, welcome: Welcome) -> tuple[IPNetwork, ...]:
        """What is routed to the provider, and what would be where this machine has no networks of its own."""
        there = choose(welcome, Here(), self._options, self._provider, accept=self._accept)
        return (*self.routes, *there.routes, *(one.seen for one in there.mappings))

    def look(self, welcome: Welcome, here: Here) -> bool:
        """Choose again; whether it came to another choice."""
        before = self._choice
        self._choice = choose(
            welcome, here, self._options, self._provider, accept=self._accept, before=before
        )
        return self._choice != before

    def welcomed(self, welcome: Welcome) -> None:
        """A new link, whose provider has seen our Hello."""
        self._told = self._in_force = welcome.mappings
        self._reason, self._unanswered = "", 0

    def ask(self) -> Mappings:
        """What to tell the provider, which answers."""
        self._unanswered += 1
        self._told = self.wish
        return Mappings(self.wish)

    def answered(self, answer: Mappings) -> None:
        """The provider has answered; only an answer to the last question says what was refused."""
        self._unanswered = max(self._unanswered - 1, 0)
        self._in_force, self._reason = answer.mappings, answer.reason


def choose(
    welcome: Welcome,
    here: Here,
    options: MapOptions,
    provider: bytes,
    *,
    accept: Sequence[IPNetwork] = (),
    before: Choice = _NO_CHOICE,
) -> Choice:
    """What to do with what `welcome` offers; what was chosen `before` stays if it can."""
    accepted, conflicts = routes.split(
        welcome.routes, lambda route: here.around(route, had=route in before.routes), accept
    )
    given = [one for one in options.given if _is_offered(one.real, welcome)]
    clashes = [_clash(one, here.around(one.seen, had=False)) for one in given]
    if CAPABILITY_MAP not in welcome.capabilities:
        clashes = [Conflict(one.real, "this provider gives it no other name") for one in given]
    settled = {one.real for one in given}
    rest = [one for one in conflicts if one.route not in settled]
    names = _Names(welcome, here, options, provider)
    names.take(one for one, clash in zip(given, clashes, strict=True) if clash is None)
    if options.automatic and CAPABILITY_MAP in welcome.capabilities:
        names.keep(one for one in before.mappings if one.real not in settled)
        rest = [one for one in rest if not (one.at_home and names.find(one.route))]
        rest = [_without_name(one, options) if one.at_home else one for one in rest]
    return Choice(
        tuple(one for one in accepted if one not in settled),
        tuple(names.found.values()),
        (*rest, *(clash for clash in clashes if clash is not None)),
    )


class _Names:
    """Names that mean nothing else on this machine, by what they are for."""

    def __init__(self, welcome: Welcome, here: Here, options: MapOptions, provider: bytes) -> None:
        self.found: dict[IPNetwork, Mapping] = {}
        self._welcome = welcome
        self._here = here
        self._options = options
        self._provider = provider
        overlay = (*welcome.addresses, *welcome.gateways)
        self._meant = [*welcome.routes, *map(ip_network, overlay)]
        self._blocks: dict[IPNetwork, Mapping] = {}

    def take(self, mappings: Iterable[Mapping]) -> None:
        """Names of the user's choice."""
        self.found.update((one.real, one) for one in mappings)
        self._meant += [one.seen for one in self.found.values()]

    def keep(self, mappings: Iterable[Mapping]) -> None:
        """Names of before, which others of their block follow."""
        for one in mappings:
            if _is_offered(one.real, self._welcome) and not self._clashes(one, had=True):
                block = _block(one.real)
                self._blocks[block] = Mapping(block, one.seen.supernet(new_prefix=block.prefixlen))
                self.found[one.real] = one

    def find(self, real: IPNetwork) -> bool:
        """Have a name for `real`; False if there is none to be had."""
        if real in self.found:
            return True
        if len(self.found) == MAX_MAPPINGS:
            return False
        block = _block(real)
        base = self._blocks.get(block)
        if base is None or self._clashes(base):
            base = self._choose(block) or self._choose(real)
        if base is None:
            return False
        self._blocks[base.real] = base
        one = Mapping(real, mapping.move(real, base.real, base.seen))
        if any(one.seen.overlaps(other.seen) for other in self.found.values()):
            return False  # offered twice, as a network and a part of it
        self.found[real] = one
        return True

    def _clashes(self, one: Mapping, *, had: bool = False) -> bool:
        around = (network.prefix for network in self._here.around(one.seen, had=had))
        return any(one.seen.overlaps(other) for other in (*self._meant, *around))

    def _choose(self, real: IPNetwork) -> Mapping | None:
        around = (one.prefix for one in self._here.around(real, had=False))
        blocks = (one.seen for one in self._blocks.values())
        taken = [*self._meant, *around, *self._here.reached(), *blocks]
        return mapping.choose(real, self._provider, taken, self._options.pools)


def _is_offered(real: IPNetwork, welcome: Welcome) -> bool:
    return any(contains(offer, real) for offer in welcome.routes)


def _is_wider(network: IPNetwork, one: IPNetwork) -> bool:
    return network != one and contains(network, one)


def _block(real: IPNetwork) -> IPNetwork:
    return real.supernet(new_prefix=min(real.prefixlen, BLOCK[real.version]))


def _clash(one: Mapping, networks: Iterable[Connected]) -> Conflict | None:
    other = next((network for network in networks if one.seen.overlaps(network.prefix)), None)
    if other is None:
        return None
    return Conflict(one.real, f"the name that you gave it, {one.seen}, overlaps {other}")


def _without_name(conflict: Conflict, options: MapOptions) -> Conflict:
    pools = ", ".join(str(pool) for pool in options.pools if pool.version == conflict.route.version)
    reason = f"{conflict.reason}, and no other name is free in {pools or 'any pool'}; give it one with --map"
    return replace(conflict, reason=reason)
