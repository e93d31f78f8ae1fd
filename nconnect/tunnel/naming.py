"""The provider's names on the user's machine: which of them, who answers, and who is told to ask.

::

    program ─ C library ─ systemd-resolved ─ our resolver ─ a zone: hosts that the provider named
                          or resolv.conf     127.78.67.x  └ the provider's resolver, through the tunnel

A provider has its own names below `.nc`, and the domains that mean nothing outside a LAN. Any other domain,
and one that this machine's own network uses, it has only if the user says so.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from nconnect.errors import HostError, NconnectError, PrivilegeError
from nconnect.host import networks, resolvconf, resolved
from nconnect.names import zone
from nconnect.names.listening import Sockets
from nconnect.names.server import Names, NameServer
from nconnect.names.zone import Zone
from nconnect.tunnel import control, mapping
from nconnect.tunnel.mapping import Mapping
from nconnect.tunnel.status import NamesStatus

logger = logging.getLogger(__name__)

CHECK_INTERVAL = 60.0
"""Seconds between looks whether systemd-resolved runs, and is the one that was told."""
RETRY_INTERVAL = 10.0
"""The same after one that went wrong: a machine that has just booted answers late."""
RESOLVED = "systemd-resolved"


@dataclass(frozen=True)
class NamingOptions:
    """What `nconnect up` was asked for."""

    sockets: Sockets
    """Where our resolver answers."""
    instance: str = ""
    """The connection's name, as resolv.conf has it."""
    accept: tuple[str, ...] = ()
    """Domains that the provider may have although they mean something elsewhere."""
    resolv_conf: bool = False
    """Put our resolver into resolv.conf where there is no systemd-resolved."""
    label: str = ""
    """What the user calls the provider; empty: as it calls itself."""
    taken: Callable[[], Collection[str]] = tuple
    """Labels that other providers have on this machine, which the provider cannot give itself."""
    fallback: str = "provider"
    """The label of one that would have another's."""


class Naming:
    """Names of one connection: `start`, then `update` with each change, then `close`."""

    def __init__(self, options: NamingOptions, link: str, say: Callable[[str], None]) -> None:
        self._options = options
        self._link = link
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._names = Names()
        self._server = NameServer(self._names)
        self._label = options.label
        self._left_out: list[str] = []
        self._offered = False
        self._via = ""
        self._reason = ""
        self._told: tuple[str, int, tuple[str, ...]] = "", 0, ()
        """Which systemd-resolved knows of which link and domains."""
        self._telling: asyncio.Task[None] | None = None
        self._next_check = 0.0

    async def start(self) -> None:
        """Answer questions, though nobody is told to ask yet.

        Raises:
            HostError, PrivilegeError: the user wants our resolver in resolv.conf, and it cannot be there.
        """
        await self._server.start(self._options.sockets)
        if not self._options.resolv_conf:
            return
        if await self._owner() and resolved.is_asked():
            self._say(f"{RESOLVED} is told of the tunnel's names; {resolvconf.PATH} stays as it is")
            return
        if self._options.sockets.port != resolvconf.PORT:
            raise HostError(
                f"--resolv-conf: our resolver has port {self._options.sockets.port}; resolv.conf knows port "
                f"{resolvconf.PORT} only, which needs root and must be free"
            )
        for warning in resolvconf.check():
            self._say(f"warning: {warning}")
        self._via = str(resolvconf.PATH)
        self._names.final = True
        self._names.others = lambda: resolvconf.resolvers_of_others(self._options.instance)

    async def close(self) -> None:
        """Answer no more. What systemd-resolved was told goes with the link."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        self._server.close()

    @property
    def resolver(self) -> str:
        """The address to have in resolv.conf; empty: none."""
        return str(self._options.sockets.address) if self._via == str(resolvconf.PATH) else ""

    def update(
        self, welcome: control.Welcome, reachable: Iterable[control.IPNetwork], mappings: Sequence[Mapping]
    ) -> None:
        """Follow what the provider says and what the tunnel leads to; `settled` waits until that is told."""
        self._label = self._label or self._choose_label(welcome.name)
        back = [one.back for one in mappings]
        names = self._names
        names.to_user = lambda address: mapping.to_user(address, mappings)
        names.to_provider = lambda address: mapping.to_user(address, back)
        domains = self._choose_domains(welcome.domains)
        made = Zone(self._label, tuple(reachable), welcome.gateways, domains=domains)
        hosts = {
            host.name: tuple(seen for one in host.addresses if made.leads_to(seen := names.to_user(one)))
            for host in welcome.hosts
        }
        names.zone = replace(
            made,
            hosts={host: addresses for host, addresses in hosts.items() if addresses},
            leases={_own_label(): welcome.addresses},
        )
        own = networks.nameservers()
        # One that the tunnel does not lead to would be another machine of this one's surroundings.
        names.resolvers = tuple(
            seen for one in welcome.dns if made.leads_to(seen := names.to_user(one)) and seen not in own
        )
        self._offered = bool(welcome.dns or welcome.hosts)
        self._tell()

    def check(self) -> None:
        """See from time to time that systemd-resolved knows: it may have been started since."""
        if self._names.zone is not None and self._loop.time() >= self._next_check:
            self._next_check = self._loop.time() + CHECK_INTERVAL
            self._tell(again=True)

    async def settled(self) -> None:
        """Wait until systemd-resolved, if it runs, knows of the last update."""
        while self._telling is not None and not self._telling.done():
            await asyncio.wait([self._telling])

    # Which names

    def _choose_label(self, name: str) -> str:
        label = zone.label(name)
        return self._options.fallback if label in self._options.taken() else label

    def _choose_domains(self, offered: Iterable[str]) -> tuple[str, ...]:
        own = networks.search_domains()
        taken, left_out = [], []
        for domain in offered:
            if any(zone.is_in(domain, accepted) for accepted in self._options.accept):
                taken.append(domain)
            elif not zone.is_private(domain):
                left_out.append(f"{domain}: names of the Internet; if you want it: --accept-domain {domain}")
            elif any(zone.is_in(domain, one) or zone.is_in(one, domain) for one in own):
                left_out.append(
                    f"{domain}: this machine's own network has it; --accept-domain {domain} takes it"
                )
            else:
                taken.append(domain)
        if left_out != self._left_out:
            self._left_out = left_out
            for line in left_out:
                self._say(f"warning: left out the domain {line}")
        return tuple(taken)

    # Who is told

    def _tell(self, again: bool = False) -> None:
        if self._via == str(resolvconf.PATH):
            return
        domains = self._names.zone.all_domains if self._names.zone else ()
        index = _index(self._link)
        if not again and self._told[0] and self._told[1:] == (index, domains):
            return
        before, self._telling = self._telling, asyncio.create_task(self._tell_resolved(index, domains))
        if before is not None:
            before.cancel()

    async def _tell_resolved(self, index: int, domains: tuple[str, ...]) -> None:
        try:
            owner = await resolved.owner()
            if owner and self._told != (owner, index, domains):
                sockets = self._options.sockets
                names = resolved.LinkNames(index, sockets.address, sockets.port, domains)
                await resolved.set_names(names)
                self._told = owner, index, domains
            self._via, reason = (RESOLVED, "") if owner else ("", f"{RESOLVED} does not run")
            if owner and not resolved.is_asked():
                reason = f"{RESOLVED} runs, and programs do not ask it"
        except NconnectError as error:
            self._via, reason = "", str(error)
            if not isinstance(error, PrivilegeError):
                self._next_check = self._loop.time() + RETRY_INTERVAL
        if reason != self._reason:
            self._reason = reason
            if reason and self._offered:
                self._say(f"warning: programs do not know the tunnel's names: {reason}; {self._advice()}")

    async def _owner(self) -> str:
        try:
            return await resolved.owner()
        except HostError as error:
            logger.info("%s", error)
            return ""

    def _advice(self) -> str:
        sockets = self._options.sockets
        return f"--resolv-conf lets them ask our resolver, {sockets.address} port {sockets.port}"

    # Saying how it is

    def status(self) -> NamesStatus:
        """The names that work."""
        sockets, made = self._options.sockets, self._names.zone
        return NamesStatus(
            via=self._via,
            reason=self._reason,
            server=f"{sockets.address}:{sockets.port}",
            hosts=[f"{host}.{made.own}" for host in made.named] if made else [],
            domains=list(made.domains) if made and self._names.resolvers else [],
            resolvers=[str(one) for one in self._names.resolvers],
            left_out=self._left_out,
        )


def _own_label() -> str:
    """What this machine is called, without the domain that some have in their host name."""
    return zone.label(socket.gethostname().partition(".")[0], "localhost")


def _index(link: str) -> int:
    """Another one when somebody deleted the link and it was made again; 0 while it is not there."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return 0


class NoNames:
    """In the place of `Naming` for a user who wants none."""

    resolver = ""

    async def start(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    async def settled(self) -> None:
        """Nothing."""

    def check(self) -> None:
        """Nothing."""

    def update(
        self, welcome: control.Welcome, reachable: Iterable[control.IPNetwork], mappings: Sequence[Mapping]
    ) -> None:
        """Nothing."""

    def status(self) -> None:
        """Nothing."""
