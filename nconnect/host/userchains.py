"""Users' own rules: an element for each service, a chain for each other grant, and an element for each leased
address that leads packets there.

::

    set tcp_services4  100.64.7.2 . 192.168.1.20 . 443               one port of one address
    map users4         100.64.7.2 ─► grant_5f0c…                     all else; users of the same share a chain
                       100.64.7.3 ─► user_100.64.7.3 ─► grant_5f0c…  one with a rate or mappings has a
                                                                     chain before it

    user_100.64.7.3   beyond the rate? drop ─ mapped? its answers go on in mapped_…, the rest will be judged
                      once it is translated ─ go on in the grant's chain
    grant_5f0c…       a target of one address? accept ─ closed, or the provider's own? return
                      ─ a wider target? accept ─ (return)

    map translate4    100.64.7.3 ─► translate_100.64.7.3   10.201.7.0/24 becomes 192.168.1.0/24
    map translated4   100.64.7.3 ─► mapped_100.64.7.3      not mapped? accept ─ as grant_…, by where it goes

Accepted packets go on their way; after a return the base chain refuses. The chains serve both
directions of a connection, because they ask for where the connection went, not where the packet goes.
The cost of a packet does not depend on the number of users (set and map are hash tables), but on that of
the user's own targets. Elements and sharing make a change cheaper: at each change of a chain the kernel looks
at all of them, and nft lists them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nconnect.host import expressions as x
from nconnect.host import firewall
from nconnect.host.grants import ALL_PORTS, Target
from nconnect.host.nft import FAMILY, Command
from nconnect.host.user_rules import Mapping, UserRules

Targets = tuple[Target, ...]
Rule = list[x.Expression]
Where = Callable[[int, Any], x.Expression]
"""Compares where a connection goes: IP version, and an address or prefix."""

HASH_DIGITS = 32
"""128 bits: no two grants have one name."""

BURST_BYTES = 128 * 1024
"""Two super-packets. The kernel adds what the rate allows in a second, which alone would be less than one
super-packet below half a megabit: none would ever pass."""

MAX_BYTES_PER_SECOND = 10**10
"""80 Gbit/s. The kernel multiplies rate and burst by 10⁹, in 64 bits (net/netfilter/nft_limit.c), and nft
takes larger numbers without a word."""


DIRECTIONS = ("original", "reply")


def by_chain(user: UserRules) -> Targets:
    """Of a user's targets those that need a chain: a rate's chain comes before all of them."""
    return user.targets if user.rate else tuple(one for one in user.targets if not _is_service(one))


def _is_service(target: Target) -> bool:
    first, last = target.ports
    return (
        target.network.num_addresses == 1 and first == last and target.protocol in firewall.SERVICE_PROTOCOLS
    )


def grant_name(targets: Targets) -> str:
    return f"grant_{hashlib.sha256(repr(targets).encode()).hexdigest()[:HASH_DIGITS]}"


def chain_name(user: UserRules) -> str:
    """Where the user's packets go first."""
    return _own("user", user) if user.rate or user.mappings else grant_name(by_chain(user))


def add_grant(table: str, targets: Targets) -> Iterator[Command]:
    """The chain for those who may reach these targets."""
    yield from _add_chain(table, grant_name(targets), grant_rules(targets))


def delete_grant(table: str, targets: Targets) -> Iterator[Command]:
    yield _chain("delete", table, grant_name(targets))


def add_rate(table: str, user: UserRules) -> Iterator[Command]:
    """What a user's rate is counted by; it outlives changes of the rules, which begin with a full second."""
    if user.rate:
        limit = x.rate_limit(min(max(user.rate // 8, 1), MAX_BYTES_PER_SECOND), BURST_BYTES)
        for direction in DIRECTIONS:
            yield _limit("add", table, _limit_name(user, direction), limit)


def delete_rate(table: str, user: UserRules) -> Iterator[Command]:
    """Undo what `add_rate` did, once the user's rules are gone."""
    if user.rate:
        for direction in DIRECTIONS:
            yield _limit("delete", table, _limit_name(user, direction), {})


def _limit_name(user: UserRules, direction: str) -> str:
    return _own(f"rate_{direction}", user)


def _limit(verb: str, table: str, name: str, body: dict[str, Any]) -> Command:
    return {verb: {"limit": {"family": FAMILY, "table": table, "name": name, **body}}}


def add_user(table: str, user: UserRules, before: UserRules | None = None) -> Iterator[Command]:
    """Lead the packets of a user to a grant's chain, which is there, as is the rate.

    `before`: the rules of this lease that `delete_user` removes first, in favour of these.
    """
    for name, rules in _own_chains(user):
        yield from _add_chain(table, name, rules)
    yield from _change_elements("add", table, user, before)


def delete_user(table: str, user: UserRules, after: UserRules | None = None) -> Iterator[Command]:
    """Undo what `add_user` did, but for what the rules `after` need as well."""
    yield from _change_elements("delete", table, user, after)
    for name, _ in reversed([*_own_chains(user)]):
        yield _chain("delete", table, name)


def _change_elements(verb: str, table: str, user: UserRules, other: UserRules | None) -> Iterator[Command]:
    """For the elements of a user that are not those of `other` as well.

    What need not change stays: for an element that jumps the kernel looks at all chains, and to forget one
    takes it 10 ms. A chain that is made anew needs its elements anew.
    """
    kept = set[str]()
    if other is not None and not any(_own_chains(user)) and not any(_own_chains(other)):
        kept.update(map(json.dumps, _elements(other)))
    for element in _elements(user):
        if json.dumps(element) not in kept:
            yield {verb: {"element": {"family": FAMILY, "table": table, **element}}}


def _own_chains(user: UserRules) -> Iterator[tuple[str, Iterator[Rule]]]:
    if user.mappings:
        yield _own("translate", user), translate_rules(user.mappings)
        yield _own("mapped", user), mapped_rules(user)
    if user.rate or user.mappings:
        yield chain_name(user), user_rules(user)


def _own(kind: str, user: UserRules) -> str:
    return f"{kind}_{user.addresses[0]}"


def user_rules(user: UserRules) -> Iterator[Rule]:
    if user.rate:
        for direction in DIRECTIONS:
            yield [x.connection_direction(direction), x.beyond(_limit_name(user, direction)), x.DROP]
    for version, seen in _seen(user.mappings):
        mapped = x.original_destination(version, seen)
        yield [mapped, x.connection_direction("original"), x.ACCEPT]
        yield [mapped, x.go_on_in(_own("mapped", user))]
    yield [x.go_on_in(grant_name(by_chain(user)))]


def translate_rules(mappings: Iterable[Mapping]) -> Iterator[Rule]:
    for mapping in mappings:
        version = mapping.seen.version
        meant = x.destination(version, x.prefix(str(mapping.seen)))
        yield [meant, x.translate_destination(version, str(mapping.real))]


def mapped_rules(user: UserRules) -> Iterator[Rule]:
    seen = dict(_seen(user.mappings))
    for version in firewall.VERSIONS:
        if version in seen:
            yield [x.original_destination(version, seen[version], "!="), x.ACCEPT]
        else:
            yield [x.is_version(version), x.ACCEPT]
    yield from grant_rules(user.targets, x.translated_destination)


def _seen(mappings: Iterable[Mapping]) -> Iterator[tuple[int, x.Expression]]:
    for version in firewall.VERSIONS:
        prefixes = [str(one.seen) for one in mappings if one.seen.version == version]
        if prefixes:
            yield version, x.any_of(prefixes)


def grant_rules(targets: Targets, where: Where = x.original_destination) -> Iterator[Rule]:
    exact = [one for one in targets if one.network.num_addresses == 1]
    wider = [one for one in targets if one.network.num_addresses > 1]
    for target in exact:
        yield _accept(target, where)
    if not wider:
        return
    for version in sorted({one.network.version for one in wider}):
        yield [where(version, x.named_set(firewall.closed_set(version))), x.RETURN]
    # Own addresses, broadcasts and multicasts; in answers the destination is the user.
    yield [x.address_type("daddr", "unicast", "!="), x.RETURN]
    yield [x.address_type("saddr", "local"), x.RETURN]
    for target in wider:
        yield _accept(target, where)


def _accept(target: Target, where: Where) -> Rule:
    version = target.network.version
    single = target.network.num_addresses == 1
    network = str(target.network.network_address) if single else x.prefix(str(target.network))
    matches = [where(version, network)]
    if target.protocol == "icmp":
        matches.append(x.connection_protocol("icmp" if version == 4 else "ipv6-icmp"))
    elif target.protocol and target.ports == ALL_PORTS:
        matches.append(x.connection_protocol(target.protocol))
    elif target.protocol:
        matches += x.original_port(version, target.protocol, *target.ports)
    return [*matches, x.ACCEPT]


def _chain(verb: str, table: str, name: str) -> Command:
    return {verb: {"chain": {"family": FAMILY, "table": table, "name": name}}}


def _add_chain(table: str, name: str, rules: Iterable[Rule]) -> Iterator[Command]:
    yield _chain("add", table, name)
    for rule in rules:
        yield {"add": {"rule": {"family": FAMILY, "table": table, "chain": name, "expr": rule}}}


def _elements(user: UserRules) -> Iterator[dict[str, Any]]:
    """Of each, the map or set and what it is."""
    chained = by_chain(user)
    maps = [(firewall.users_map, chain_name(user))]
    if user.mappings:
        maps.append((firewall.translate_map, _own("translate", user)))
        maps.append((firewall.translated_map, _own("mapped", user)))
    for address in user.addresses:
        text, version = str(address), address.version
        for name, chain in maps:
            yield {"name": name(version), "elem": [[{"concat": [text, text]}, {"jump": {"target": chain}}]]}
        services = [one for one in user.targets if one.network.version == version and one not in chained]
        for one in services:
            where = {"concat": [text, text, str(one.network.network_address), one.ports[0]]}
            yield {"name": firewall.services_set(version, one.protocol), "elem": [where]}
