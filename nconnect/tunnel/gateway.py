"""The provider's side: `nconnect serve`.

Listen on the own NKN address, let in whom the authority admits, give each a lease, and move packets between
their links and the TUN device; the kernel forwards what each may reach, and translates it into the LAN.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from pathlib import Path

from nconnect.errors import HostError, RefusedError, UsageError
from nconnect.host import firewall, networks, plans
from nconnect.host.forward import forward_drop
from nconnect.host.grants import Target
from nconnect.host.user_rules import UserRules
from nconnect.nkn.keys import KeyPair
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant
from nconnect.tunnel import control, mapping, offer, overlay, status
from nconnect.tunnel.absence import Absence
from nconnect.tunnel.admission import Admitted
from nconnect.tunnel.farewell import Farewell
from nconnect.tunnel.holding import DEFAULT_SECONDS, Holding
from nconnect.tunnel.leases import Leases, Pool
from nconnect.tunnel.link import Link
from nconnect.tunnel.offer import Offer
from nconnect.tunnel.providing import Providing, ProvidingOptions
from nconnect.tunnel.pump import Pump, Receiver
from nconnect.tunnel.status import UserStatus
from nconnect.tunnel.unforwarded import Unforwarded

REMAP_INTERVAL = 0.2
"""Seconds after a user's mappings were changed before it may change them again: a change blocks everybody's
packets for some milliseconds."""
HELD_FILE = "held.json"
"""Beside the leases."""
DROP_NOTICE_INTERVAL = 600.0
"""Seconds until a user whose packets are dropped is worth another line."""


@dataclass(frozen=True)
class GatewayOptions(ProvidingOptions):
    """What `nconnect serve` was asked for."""

    journal: Path
    leases: Path
    lease_seconds: float = DEFAULT_SECONDS
    """For how long a user's lease is held after the user was heard of last."""
    pool4: str = ""
    pool6: str = ""
    mtu: int = overlay.OVERLAY_MTU
    names: Offer = offer.NOTHING
    forward: tuple[str, ...] = ()
    """Interfaces, or patterns, from which packets go on although it is we who made this machine forward."""


@dataclass(frozen=True)
class User:
    """An admitted user who is connected."""

    link: Link
    name: str
    addresses: tuple[control.IPAddress, ...]
    since: float


class Gateway(Providing):
    """Serves the LAN to whom `authority` admits; `run` until cancelled, which closes the authority."""

    CONNECT = "sudo nconnect up"

    def __init__(
        self, options: GatewayOptions, key: KeyPair, say: Callable[[str], None], authority: Authority
    ) -> None:
        self._pool = Pool.of(key.public_key, options.pool4, options.pool6)
        self._leases = Leases(options.leases, self._pool)
        check_pool(options.lan, self._pool)
        check_lan(options.lan)
        # Read before the host is touched: a file that is damaged leaves nothing behind.
        holding = Holding(options.leases.with_name(HELD_FILE), options.lease_seconds)
        super().__init__(options, key, say, authority)
        self._host, self._tun = overlay.open_host(options.journal, options.name, say)
        self._mtu = options.mtu
        self._names = options.names
        self._forward = options.forward
        self._unforwarded = Unforwarded(options.forward, say)
        self._absence = Absence(holding, self._present, authority.decide, authority.now, self._end_lease, say)
        self._guests.on_others = self._absence.look
        self._by_address: dict[bytes, Receiver] = {}
        self._pump = Pump(self._tun, self._by_address.get)
        self._users: dict[bytes, User] = {}
        self._rules: dict[bytes, UserRules] = {}
        """What the kernel lets each user do. A user's rules stay until the lease is over: only the pump hands
        packets to the device, and it checks each source, so one who comes and goes costs no change there."""
        self.failed = self._pump.failed

    async def run(self) -> None:
        """Serve until cancelled; then leave the host as it was.

        Raises:
            NetworkError: the NKN network could not be joined.
            HostError: the host refused a change, or took the device away.
        """
        keeper = asyncio.create_task(overlay.keep(self._host, self._client, self._say, self._on_networks))
        guard = asyncio.create_task(self._guests.run())
        leases = asyncio.create_task(self._absence.run())
        try:
            self._apply()
            self._say_unforwarded()
            for obstacle in forward_drop(self._tun.name):
                self._say(f"warning: {obstacle}")
            await self._serve()
        finally:
            keeper.cancel()
            guard.cancel()
            leases.cancel()
            await self._absence.close()
            self._pump.close()
            self._authority.close()
            overlay.close_host(self._host, self._tun, self._say)

    def _on_networks(self) -> None:
        if made_again := self._pump.check():
            self._say(made_again)
        self._say_unforwarded()

    def _say_unforwarded(self) -> None:
        if self._host.limits_forwarding:
            self._unforwarded.look()

    def _apply(self) -> None:
        """Make the host a gateway, for nobody yet."""
        self._host.apply(
            plans.gateway_state(
                self._name, self._tun.name, self._mtu, self._pool.gateway_interfaces, self._forward
            )
        )

    @property
    def _links(self) -> Sequence[Link]:
        return [user.link for user in self._users.values()]

    # One user

    def _suits(self, hello: control.Hello) -> None:
        if control.CAPABILITY_FORWARD in hello.capabilities:
            raise RefusedError(
                control.RefusalCode.KIND, "this provider carries packets; connect with `nconnect up` instead"
            )

    def _offer(self, key: bytes, hello: control.Hello, grant: Grant) -> control.Welcome:
        """What an admitted user gets; RefusedError if there is no address."""
        try:
            addresses = self._leases.lease(key, self._absence.holds)
            self._absence.come(key)
            # The kernel knows before the user does.
            rules = self._rules_of(addresses, grant, hello.mappings)
            self._change_rules({key: rules})
            # Of another process of ours, perhaps, which crashed before it came to that.
            self._host.end_translations(addresses, rules.mappings)
        except HostError as error:
            self._say(f"warning: {key.hex()} gets no address: {error}")
            raise RefusedError(
                control.RefusalCode.BUSY, "it cannot give you an address now; its log says why"
            ) from error
        names = self._names.within(grant.reaches(self._lan))
        return control.Welcome(
            addresses=addresses,
            gateways=self._pool.gateway,
            mtu=self._mtu,
            routes=routes_of(grant, self._lan),
            capabilities=overlay.capabilities(self._tun) | {control.CAPABILITY_MAP},
            name=socket.gethostname(),
            mappings=rules.mappings,
            dns=names.resolvers,
            domains=names.domains,
            hosts=names.hosts,
        )

    def _rules_of(
        self, addresses: tuple[control.IPAddress, ...], grant: Grant, wanted: tuple[mapping.Mapping, ...]
    ) -> UserRules:
        targets = grant.reaches(self._lan)
        mappings = self._permitted(wanted, targets).mappings
        return UserRules(addresses, (*targets, *self._names.opened(targets)), grant.rate, mappings)

    def _permitted(
        self, wanted: tuple[mapping.Mapping, ...], targets: tuple[Target, ...]
    ) -> control.Mappings:
        closed = (*firewall.FORBIDDEN_NETWORKS, self._pool.v4, self._pool.v6)
        return mapping.permitted(wanted, networks_of(targets), closed)

    def _change_rules(self, changes: Mapping[bytes, UserRules | None]) -> None:
        """Have the kernel hold these users to these rules (None: none), all at once.

        Raises:
            HostError: it refused; nothing is changed.
        """
        gone = [rules for key, rules in self._rules.items() if key in changes and changes[key] is None]
        self._host.change_users(
            [rules for rules in changes.values() if rules is not None],
            [address for rules in gone for address in rules.addresses],
        )
        for key, rules in changes.items():
            if rules is not None:
                self._rules[key] = rules
            else:
                self._rules.pop(key, None)

    def _regrant(self, grants: Mapping[bytes, Grant | None]) -> None:
        """Make these users have these grants from now on.

        Raises:
            HostError: the kernel refused; none of them gets a packet through any more.
        """
        changes: dict[bytes, UserRules | None] = {}
        for key, grant in grants.items():
            user = self._users[key]
            mappings = self._rules[key].mappings
            changes[key] = self._rules_of(user.addresses, grant, mappings) if grant is not None else None
            if grant is None:
                self._disconnect(user)
        before = {key: self._rules[key].mappings for key in grants}
        try:
            self._change_rules(changes)
            for key, rules in changes.items():
                if rules is not None and rules.mappings != before[key]:
                    self._host.end_translations(rules.addresses, rules.mappings)
        except HostError:
            for key in grants.keys() & self._users.keys():
                self._disconnect(self._users[key])
            raise
        for key, grant in grants.items():
            if grant is None:
                self._absence.end(key)
            else:
                self._users[key].link.send(control.RoutesChanged(routes_of(grant, self._lan)))

    async def _follow(self, admitted: Admitted) -> None:
        """Move a user's packets until the link ends."""
        link, key = admitted.link, admitted.link.remote_public_key
        link.peer_takes_uso = control.CAPABILITY_USO in admitted.hello.capabilities
        user = User(link, admitted.name, admitted.welcome.addresses, self._loop.time())
        before = self._users.get(key)
        self._users[key] = user
        for address in user.addresses:
            self._by_address[address.packed] = link
        try:
            if before is not None:
                self._pump.remove(before.link)
                self._replace(before.link)
            sources = frozenset(address.packed for address in user.addresses)
            self._pump.add(link, sources, self._drop_notice(user))
            link.start_pings()
            self._say(f"{user.name or 'a user'} is connected: {key.hex()} as {user.addresses[0]}")
            self._guests.enter(link, user.name, admitted.decision)
            while not isinstance(message := await link.receive(), control.Bye):
                if isinstance(message, control.Mappings):
                    self._remap(user, message.mappings)
                    await asyncio.sleep(REMAP_INTERVAL)
        finally:
            link.abort()
            self._guests.leave(link)
            if self._disconnect(user):
                self._say(f"{user.name or 'a user'} has left: {key.hex()}")

    def _remap(self, user: User, wanted: tuple[mapping.Mapping, ...]) -> None:
        """Translate these prefixes for a user, and no others, as far as they are permitted."""
        key = user.link.remote_public_key
        rules = self._rules.get(key)
        if rules is None or self._users.get(key) is not user:
            return  # cut off, or replaced, a moment ago
        answer = self._permitted(wanted, rules.targets)
        try:
            self._change_rules({key: replace(rules, mappings=answer.mappings)})
        except HostError as error:
            self._say(f"warning: {key.hex()} gets no other mappings: {error}")
            answer = control.Mappings(rules.mappings, "it cannot map anything now; its log says why")
        if answer.mappings != rules.mappings:
            try:
                self._host.end_translations(rules.addresses, answer.mappings)
            except HostError as error:
                self._say(f"warning: {key.hex()} is cut off: {error}")
                self._disconnect(user)
                user.link.abort()
                return
        user.link.send(answer)

    def _drop_notice(self, user: User) -> Callable[[str], None]:
        """Says that something of this user was dropped, and why, once in a while."""
        who, key, said = user.name or "a user", user.link.remote_public_key.hex(), -math.inf

        def notice(reason: str) -> None:
            nonlocal said
            now = self._loop.time()
            if now - said >= DROP_NOTICE_INTERVAL:
                said = now
                self._say(f"dropped something of {who} ({key}): {reason}")

        return notice

    def _disconnect(self, user: User) -> bool:
        """Let no packet of this link through any more; False if another link, or nobody, is in its place."""
        self._pump.remove(user.link)
        key = user.link.remote_public_key
        if self._users.get(key) is not user:
            return False
        del self._users[key]
        self._absence.leave(key, self._loop.time() - user.link.last_received)
        for address in user.addresses:
            del self._by_address[address.packed]
        return True

    # Who is not there

    def _present(self) -> Iterator[tuple[bytes, float]]:
        now = self._loop.time()
        return ((key, now - user.link.last_received) for key, user in self._users.items())

    async def _end_lease(self, key: bytes) -> None:
        """Reset towards the LAN what the user had open, and let the kernel forget the user.

        Raises:
            HostError: it does not.
        """
        addresses = self._leases.find(key) or ()

        def allow(targets: tuple[Target, ...]) -> None:
            self._change_rules({key: UserRules(addresses, targets)})

        farewell = Farewell(addresses, allow, self._tun.write)
        self._by_address.update((address.packed, farewell) for address in addresses)
        self._pump.read_for(farewell)
        try:
            count = await farewell.run()
            self._change_rules({key: None})
        finally:
            self._pump.remove(farewell)
            for address in addresses:
                if self._by_address.get(address.packed) is farewell:
                    del self._by_address[address.packed]
        self._say(f"the lease of {key.hex()} is over; connections that were reset: {count}")

    # Saying how it is

    def status(self) -> status.ServeStatus:
        """The state of this moment."""
        return self._status(
            interface=self._tun.name,
            pool=(self._pool.v4, self._pool.v6),
            packets=asdict(self._pump.stats),
            held=[
                status.HeldStatus(key.hex(), list(map(str, self._leases.find(key) or ())), left)
                for key, left in self._absence.held()
            ],
        )

    def _user_status(self) -> list[UserStatus]:
        now = self._loop.time()
        return [
            status.user(user.link, user.name, now, user.since, user.addresses)
            for user in self._users.values()
        ]


def routes_of(grant: Grant, lan: tuple[control.IPNetwork, ...]) -> tuple[control.IPNetwork, ...]:
    """The networks that a user with this grant is offered: what it names, not what is around that."""
    return networks_of(grant.reaches(lan))


def networks_of(targets: Iterable[Target]) -> tuple[control.IPNetwork, ...]:
    """The networks of targets, each as wide as they are together."""
    networks = [target.network for target in targets]
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    v6 = [network for network in networks if isinstance(network, IPv6Network)]
    return (*collapse_addresses(v4), *collapse_addresses(v6))


def check_pool(lan: tuple[control.IPNetwork, ...], pool: Pool) -> None:
    """See that no prefix collides with the pool.

    Raises:
        UsageError: one does; the message names it.
    """
    for prefix in lan:
        mine = pool.v4 if prefix.version == 4 else pool.v6
        if prefix.overlaps(mine):
            raise UsageError(f"--lan {prefix} overlaps the overlay's own pool {mine}; set another pool")


def check_lan(lan: tuple[control.IPNetwork, ...]) -> None:
    """See that every prefix can be reached from this machine.

    Raises:
        UsageError: one cannot; the message names it.
    """
    for prefix in lan:
        if networks.reach(prefix) is None:
            connected = ", ".join(map(str, networks.connected_networks()))
            raise UsageError(
                f"--lan {prefix}: this machine is not connected to it and has no route to it; "
                f"it is connected to {connected or 'nothing'}"
            )
