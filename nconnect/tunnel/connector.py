"""The user's side: `nconnect up`.

Dial the provider, prove who we are, take the addresses and routes that it welcomes us with, and pump packets
until told to stop. A link that is lost is dialled again; the TUN device, the routes and the TCP connections
inside stay meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

from nconnect.config import NetworkSection
from nconnect.errors import HostError, RefusedError, RouteConflictError
from nconnect.host import networks, plans, sysctl
from nconnect.host.marks import MARK
from nconnect.nkn.addresses import Address
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.tunnel import control, health, joining, overlay, routes, status
from nconnect.tunnel.addresses import KeptAddresses
from nconnect.tunnel.killswitch import KillSwitch
from nconnect.tunnel.link import Link
from nconnect.tunnel.mapping import Mapping
from nconnect.tunnel.naming import Naming, NamingOptions, NoNames
from nconnect.tunnel.pump import Pump
from nconnect.tunnel.remapping import Here, MapOptions, Remapping
from nconnect.tunnel.unforwarded import Unforwarded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConnectorOptions:
    """What `nconnect up` was asked for."""

    peer: Address
    name: str
    network: NetworkSection
    journal: Path
    addresses: Path
    """Where those of seeds and relays are kept."""
    accept: tuple[control.IPNetwork, ...] = ()
    """Public prefixes that may be routed to the provider although no LAN has them."""
    wait: bool = False
    """Wait for a provider who does not let us in yet, or does not answer."""
    invite: bytes = field(default=b"", repr=False)
    """Shown to the provider until it has let us in."""
    kill_switch: Path | None = None
    """What was routed to the provider goes nowhere else if this process dies, ends by an error, or is not
    connected yet; this file remembers what. None: no kill switch."""
    names: NamingOptions | None = None
    """None: the provider's names are no matter."""
    maps: MapOptions = field(default_factory=MapOptions)
    """Other prefixes for what this machine has itself."""
    forward: tuple[str, ...] = ()
    """Interfaces, or patterns, from which packets go into the tunnel if this machine forwards."""


class Connector:
    """One connection to one provider; `run` until cancelled."""

    def __init__(self, options: ConnectorOptions, key: KeyPair, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._addresses = KeptAddresses(options.addresses)
        self._addresses.recall()
        self._client = MultiClient(
            key,
            joining.identifier("up", key, options.invite),
            ClientConfig(
                seed_rpc=options.network.seed_rpc,
                sub_clients=options.network.sub_clients,
                socket_mark=MARK,
            ),
        )
        # Read before the host is touched: a file that is damaged leaves nothing behind.
        self._kill_switch = (
            KillSwitch(options.kill_switch, options.peer.public_key, say) if options.kill_switch else None
        )
        self._host, self._tun = overlay.open_host(options.journal, options.name, say)
        remembered = self._kill_switch.prefixes if self._kill_switch else ()
        self._closed = [
            *map(ip_network, self._host.closed),
            *(one for one in remembered if routes.is_acceptable(one, options.accept)),
        ]
        """What leads nowhere until the provider has welcomed us."""
        self._said_closed: list[str] | None = None
        self._pump = Pump(self._tun, lambda destination: self._link)
        self._naming = Naming(options.names, self._tun.name, say) if options.names else NoNames()
        self._invite = options.invite
        self._link: Link | None = None
        self._welcome: control.Welcome | None = None
        self._remapping = Remapping(options.maps, options.peer.public_key, options.accept)
        self._around = Here()
        """What this machine has, at the last look."""
        self._announced: set[Mapping] = set()
        self._warned = ""
        self._unforwarded = Unforwarded(options.forward, say, " into the tunnel")
        self._standing = health.Standing(self._loop.time())
        self.failed = self._pump.failed
        self.ready = asyncio.Event()
        """Set when packets flow for the first time."""

    async def run(self) -> None:
        """Connect and stay connected until cancelled; then leave the host as it was.

        After anything but that a kill switch stays; what it closed before is closed from the start on.

        Raises:
            NetworkError, RefusedError, RouteConflictError: the first connection could not be made.
            RefusedError: a later one was refused, or ended because we are let in no longer.
            HostError: the host refused a change, or took the device away.
        """
        keeper = asyncio.create_task(
            overlay.keep(self._host, self._client, self._say, self._on_networks, self._naming.check)
        )
        is_wanted = False
        try:
            self._close()
            await self._naming.start()
            async with self._client:
                redial = joining.Redial(self._dial, self._not_answered, self._say, wait=self._options.wait)
                await self._stay(await redial.first(), redial)
        except asyncio.CancelledError:
            is_wanted = not self.failed.done()
            raise
        finally:
            keeper.cancel()
            await self._naming.close()
            self._pump.close()
            # The first start ever that fails leaves this machine as it was; a later one leaves it closed.
            keep_closed = not is_wanted and (
                bool(self._closed) or (self._kill_switch is not None and self.ready.is_set())
            )
            overlay.close_host(self._host, self._tun, self._say, keep_closed=keep_closed)

    # Making a link

    async def _dial(self) -> Link:
        """A link whose provider has welcomed us to addresses that we can have."""
        hello = control.Hello(
            overlay.capabilities(self._tun), socket.gethostname(), self._invite, self.mappings
        )
        link, welcome = await joining.join(self._client, self._options.peer, hello)
        if self._invite:
            self._invite = b""
            self._say(f"your key is let in; from now on: sudo nconnect up --peer {self._options.peer}")
        try:
            here = self._here()
            had = self._welcome is not None and self._welcome.addresses == welcome.addresses
            routes.check_addresses(
                welcome.addresses,
                welcome.gateways,
                lambda address: here.around(address, had=had),
                self._options.accept,
            )
            welcome = await self._agree(link, welcome, here)
        except BaseException:
            link.abort()
            raise
        self._welcome = welcome
        link.peer_takes_uso = control.CAPABILITY_USO in welcome.capabilities
        return link

    async def _agree(self, link: Link, welcome: control.Welcome, here: Here) -> control.Welcome:
        """Have the provider translate what has another name here; its welcome after that."""
        self._remapping.welcomed(welcome)
        self._remapping.look(welcome, here)
        if self._remapping.must_ask:
            question = self._remapping.ask()
            welcome, answer = await joining.ask_for_mappings(self._client, link, welcome, question)
            self._remapping.answered(answer)
        return welcome

    # Being connected

    async def _stay(self, link: Link, redial: joining.Redial[Link]) -> None:
        try:
            while True:
                self._take_up(link)
                await self._naming.settled()
                self.ready.set()
                refused = False
                try:
                    reason = await joining.until_lost(self._client, link, self._on_routes, self._on_mappings)
                except RefusedError as error:
                    redial.lost(error)
                    reason, refused = str(error), True
                self._let_go(link, reason, refused=refused)
                link = await redial.again()
        finally:
            await link.close("the user left")

    def _take_up(self, link: Link) -> None:
        """Apply what the provider welcomed us with, and let packets flow."""
        assert self._welcome is not None
        self._link = link
        self._look()
        if not self.ready.is_set():
            self._check_first_choice(self._welcome)
        self._apply_routes()
        self._pump.add(link, None)
        self._standing.linked(self._loop.time())
        self._addresses.save()
        self._say(self._description(link))

    def _check_first_choice(self, welcome: control.Welcome) -> None:
        conflicts = self._remapping.conflicts
        if conflicts and not self._remapping.routes:
            raise RouteConflictError("; ".join(map(str, conflicts)) + ": nothing was changed")
        for one in self._remapping.not_offered(welcome):
            self._say(f"warning: {one.real} is not offered, so {one.seen} leads nowhere")

    def _look(self, *, ask_again: bool = False) -> bool:
        """See what of the offered can be had now, and how; True if that is another choice than before."""
        assert self._welcome is not None
        self._around = self._here()
        changed = self._remapping.look(self._welcome, self._around)
        must_ask = self._remapping.must_ask or (ask_again and self._remapping.wish)
        if must_ask and self._link is not None:
            self._link.send(self._remapping.ask())
        return changed

    def _on_networks(self) -> None:
        """This machine's own networks may have changed: one that it has joined is not to be cut off."""
        if made_again := self._pump.check():
            self._say(made_again)
        if self._welcome is None:
            self._close()
        if not self.ready.is_set():
            return
        if self._look() and self._link is not None:
            self._apply_routes()
        else:
            self._change_host()  # a network that lies inside an offered one is left out of it

    def _close(self) -> None:
        """Have lead nowhere what did, or was routed to the provider, but for what this machine has itself."""
        if not self._closed:
            return
        here, name = self._here(), self._options.name
        self._host.close(plans.closed_state(name, self._tun.name, self._closed, here.networks, here.tunnels))
        if self._host.closed != self._said_closed:
            self._said_closed = self._host.closed
            if prefixes := ", ".join(self._said_closed):
                self._say(f"kill switch: {prefixes} unreachable until there is a connection")
            else:
                self._say("kill switch: nothing is unreachable: this machine reaches those networks itself")

    def _apply_routes(self) -> None:
        self._change_host()
        left_out = self._left_out
        if left_out and left_out != self._warned:
            self._say(f"warning: left out: {left_out}")
        self._warned = left_out
        for one in self.mappings:
            if one not in self._announced:
                self._announced.add(one)
                self._say(f"{one.real} at {self._peer_name} → {one.seen}")

    @property
    def _left_out(self) -> str:
        """Why not all that is offered is there; empty if all is."""
        return "; ".join(map(str, self._remapping.conflicts))

    def _change_host(self) -> None:
        assert self._welcome is not None
        gateways = [ip_network(address) for address in self._welcome.gateways]
        prefixes = [*self._remapping.routes, *gateways]
        self._naming.update(self._welcome, prefixes, self.mappings)
        self._host.apply(
            plans.user_state(
                self._options.name,
                self._tun.name,
                self._welcome.mtu,
                [ip_interface(address) for address in self._welcome.addresses],
                prefixes,
                self._around.networks,
                self._around.tunnels,
                kill_switch=self._kill_switch is not None,
                resolver=self._naming.resolver,
                forward=self._options.forward,
            )
        )
        if sysctl.forwards():
            self._unforwarded.look()
        if self._kill_switch is not None:
            self._kill_switch.remember((*self._remapping.anywhere(self._welcome), *gateways))

    def _here(self) -> Here:
        ours = (self._tun.name,)
        return Here(
            networks.connected_networks(ours),
            networks.tunnelled_networks(ours),
            lambda: networks.reached_networks(ours),
        )

    def _let_go(self, link: Link, reason: str, *, refused: bool) -> None:
        self._pump.remove(link)
        self._link = None
        self._standing.lost(reason, link.last_received, self._loop.time(), refused=refused)
        self._say(f"connection lost ({reason}); dialling again")

    def _description(self, link: Link) -> str:
        assert self._welcome is not None
        prefixes = ", ".join(map(str, self._remapping.routes))
        return (
            f"connected to {self._peer_name}: {prefixes or 'no routes'} via "
            f"{self._tun.name}, you are {self._welcome.addresses[0]} ({link.key_exchange_group})"
        )

    def _on_routes(self, changed: tuple[control.IPNetwork, ...]) -> None:
        assert self._welcome is not None
        self._welcome = replace(self._welcome, routes=changed)
        # What is granted no longer is mapped no longer, and may be granted again by now.
        self._look(ask_again=True)
        self._try_to_apply_routes()

    def _on_mappings(self, answer: control.Mappings) -> None:
        self._remapping.answered(answer)
        self._try_to_apply_routes()

    def _try_to_apply_routes(self) -> None:
        """What cannot be had now, as on a full disk, ends no link that works: the next look tries again."""
        try:
            self._apply_routes()
        except HostError as error:
            self._say(f"warning: {error}")

    def _not_answered(self, error: Exception) -> None:
        self._standing.failed(error, self._loop.time())

    # Saying how it is

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """The provider's prefixes that have another name here, as they are in force now."""
        return self._remapping.mappings

    @property
    def _peer_name(self) -> str:
        return (self._welcome.name if self._welcome else "") or str(self._options.peer)

    def status(self) -> status.UpStatus:
        """The state of this moment, derived from the last proof of life."""
        now = self._loop.time()
        link, welcome = self._link, self._welcome
        paths = status.paths(self._client, link.session if link else None)
        link_proof = link.last_received if link else None
        proof = self._standing.proof(link_proof)
        standing = self._standing.health(now, link_proof, self._left_out, paths)
        conflicts = {conflict.route: str(conflict) for conflict in self._remapping.conflicts}
        return status.UpStatus(
            schema=status.SCHEMA,
            name=self._options.name,
            pid=os.getpid(),
            state=standing.state,
            reason=standing.reason,
            state_seconds=standing.seconds,
            address=self._client.address,
            peer=str(self._options.peer),
            peer_name=welcome.name if welcome else "",
            interface=self._tun.name,
            addresses=[str(address) for address in welcome.addresses] if welcome else [],
            gateways=[str(address) for address in welcome.gateways] if welcome else [],
            routes=[
                status.RouteStatus(str(route), route in self._remapping.routes, conflicts.get(route, ""))
                for route in (welcome.routes if welcome else ())
            ],
            key_exchange_group=link.key_exchange_group if link else "",
            paths=paths,
            connected_seconds=now - self._standing.since if link else 0.0,
            silent_seconds=None if proof is None else now - proof,
            bytes_in=link.bytes_in if link else 0,
            bytes_out=link.bytes_out if link else 0,
            packets=asdict(self._pump.stats),
            rtt_ms=link.rtt * 1000 if link and link.rtt is not None else None,
            names=self._naming.status(),
            mappings=[status.MappingStatus(str(one.real), str(one.seen)) for one in self.mappings],
        )
