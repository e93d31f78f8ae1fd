"""The provider's side without a TUN device: `nconnect serve --no-tun`.

Lets in the same users by the same rules as the gateway, but opens their connections itself, so it needs no
right that other programs do not have.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Never

from nconnect.errors import NconnectError, RefusedError
from nconnect.forward.carrier import Carrier
from nconnect.forward.destinations import Destinations
from nconnect.forward.flows import Flows
from nconnect.forward.limits import raise_file_limit
from nconnect.forward.pipe import pipe, reset
from nconnect.forward.rate import Rate, RatedChannel
from nconnect.forward.socks5 import Reply, Target
from nconnect.forward.stream import Stream
from nconnect.forward.surroundings import following
from nconnect.forward.tasks import Tasks
from nconnect.host.grants import Target as Granted
from nconnect.nkn.keys import KeyPair
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant
from nconnect.tunnel import control, status
from nconnect.tunnel.admission import Admitted
from nconnect.tunnel.control import IPAddress
from nconnect.tunnel.gateway import check_lan, routes_of
from nconnect.tunnel.link import Link
from nconnect.tunnel.providing import Providing, ProvidingOptions
from nconnect.tunnel.status import UserStatus

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
"""Connections of one user, open or being opened; a browser has some 100. Each may hold a window (1 MiB) for a
host that does not read, so this bounds a user to 256 MiB."""
MAX_CONNECTING = 32
"""Connections of one user that are being opened at once; the others wait. Hosts that are off take 10 s each,
so whoever looks through a LAN for open ports is slow."""
MAX_RESOLVING = 4
"""Names of one user that are looked up at once."""
UNUSED_MTU = 1500
"""What Welcome says where there are no packets."""


class Provider(Providing):
    """Opens connections for whom `authority` admits; `run` until cancelled.

    It closes `destinations` and `authority`.
    """

    CONNECT = "nconnect socks"

    def __init__(
        self,
        options: ProvidingOptions,
        key: KeyPair,
        say: Callable[[str], None],
        destinations: Destinations,
        authority: Authority,
    ) -> None:
        check_lan(options.lan)
        super().__init__(options, key, say, authority)
        self._destinations = destinations
        self._users: dict[bytes, User] = {}
        self._rates: dict[bytes, tuple[Rate, Rate]] = {}
        """Of each who was ever connected, some hundred bytes: another connection is no new allowance."""
        self.failed: asyncio.Future[Never] = self._loop.create_future()
        """Never set: nothing that it needs can be taken away."""

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            NetworkError: the NKN network could not be joined.
        """
        raise_file_limit()
        guard = asyncio.create_task(self._guests.run())
        try:
            with following(self._client):
                await self._serve()
        finally:
            guard.cancel()
            self._destinations.close()
            self._authority.close()

    @property
    def _links(self) -> Sequence[Link]:
        return [user.link for user in self._users.values()]

    # Whom it serves

    def _regrant(self, grants: Mapping[bytes, Grant | None]) -> None:
        for key, grant in grants.items():
            user = self._users[key]
            user.regrant(grant.reaches(self._lan) if grant else (), grant.rate if grant else 0)
            if grant is None:
                user.close()
                del self._users[key]
            else:
                user.link.send(control.RoutesChanged(routes_of(grant, self._lan)))

    # One user

    def _suits(self, hello: control.Hello) -> None:
        if control.CAPABILITY_FORWARD not in hello.capabilities:
            raise RefusedError(
                control.RefusalCode.KIND,
                "this provider has no TUN device; connect with `nconnect socks` instead",
            )

    def _offer(self, key: bytes, hello: control.Hello, grant: Grant) -> control.Welcome:
        return control.Welcome(
            addresses=(),
            gateways=(),
            mtu=UNUSED_MTU,
            routes=routes_of(grant, self._lan),
            capabilities=frozenset({control.CAPABILITY_FORWARD}),
            name=socket.gethostname(),
        )

    async def _follow(self, admitted: Admitted) -> None:
        """Serve a user until the link ends."""
        link, grant, key = admitted.link, admitted.decision.grant, admitted.link.remote_public_key
        rates = self._rates.setdefault(key, (Rate(), Rate()))
        user = User(link, admitted.name, self._destinations, self._loop.time(), rates)
        if grant is not None:
            user.regrant(grant.reaches(self._lan), grant.rate)
        before, self._users[key] = self._users.get(key), user
        if before is not None:
            self._replace(before.link)
        try:
            link.start_pings()
            self._say(f"{user.name or 'a user'} is connected: {key.hex()}")
            self._guests.enter(link, user.name, admitted.decision)
            while not isinstance(await link.receive(), control.Bye):
                pass
        finally:
            link.abort()
            self._guests.leave(link)
            user.close()
            if self._users.get(key) is user:
                del self._users[key]
                self._say(f"{user.name or 'a user'} has left: {key.hex()}")

    # Saying how it is

    def status(self) -> status.ServeStatus:
        """The state of this moment."""
        return self._status()

    def _user_status(self) -> list[UserStatus]:
        now = self._loop.time()
        return [user.status(now) for user in self._users.values()]


class User:
    """A user who is connected, and what is open for them."""

    def __init__(
        self, link: Link, name: str, destinations: Destinations, since: float, rates: tuple[Rate, Rate]
    ) -> None:
        """`rates`: to the user, and to the hosts."""
        self.link = link
        self.name = name
        self._destinations = destinations
        self._since = since
        self._granted: tuple[Granted, ...] = ()
        self._to_user, self._to_hosts = rates
        self._connections = Tasks()
        self._open: dict[asyncio.Task[None], tuple[IPAddress, int]] = {}
        """Where the connections lead that are made."""
        self._connecting = asyncio.Semaphore(MAX_CONNECTING)
        self._resolving = asyncio.Semaphore(MAX_RESOLVING)
        self._carrier = Carrier(
            link, on_open=self._on_open, on_datagram=self._on_datagram, on_forget=self._on_forget
        )
        self._flows = Flows(lambda target: self._resolve(target, "udp"), self._on_answer)

    def regrant(self, granted: tuple[Granted, ...], rate: int) -> None:
        """What this user may reach from now on, and how fast (bits a second, 0: no limit)."""
        self._granted = granted
        self._to_user.bits = self._to_hosts.bits = rate
        for task, where in list(self._open.items()):
            if not self._destinations.allows(*where, "tcp", granted):
                task.cancel()
        self._flows.recheck(lambda address, port: self._destinations.allows(address, port, "udp", granted))

    def close(self) -> None:
        """End all that is open; the link has ended."""
        self._connections.cancel()
        self._flows.close()

    def status(self, now: float) -> status.UserStatus:
        """The state of this moment."""
        return status.user(self.link, self.name, now, self._since, connections=len(self._connections))

    async def _resolve(self, target: Target, protocol: str) -> list[IPAddress]:
        async with self._resolving:
            return await self._destinations.resolve(target, protocol, self._granted)

    def _on_open(self, stream: Stream, target: Target) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            logger.debug("%s has too many connections", self.link.remote_address)
            stream.refuse(Reply.GENERAL_FAILURE)
            return
        stream.on_broken = self._connections.start(self._serve(stream, target)).cancel

    async def _serve(self, stream: Stream, target: Target) -> None:
        """One connection, from its opening to its end."""
        try:
            async with self._connecting:
                addresses = await self._resolve(target, "tcp")
                reader, writer = await self._destinations.connect(addresses, target.port)
        except NconnectError as error:
            logger.debug("%s is not connected to %s: %s", self.link.remote_address, target, error)
            stream.refuse(error.code if isinstance(error, RefusedError) else Reply.GENERAL_FAILURE)
            return
        task, peer = asyncio.current_task(), writer.get_extra_info("peername")
        assert task is not None
        where = ip_address(peer[0]), peer[1]
        if not self._destinations.allows(*where, "tcp", self._granted):  # it was when this began
            reset(writer)
            stream.refuse(Reply.NOT_ALLOWED)
            return
        self._open[task] = where
        try:
            stream.accept()
            await pipe(reader, writer, RatedChannel(stream, self._to_hosts, self._to_user))
        finally:
            del self._open[task]

    def _on_datagram(self, flow: int, target: Target, payload: bytes) -> None:
        if self._to_hosts.try_take(len(payload)):
            self._flows.send(flow, target, payload)

    def _on_answer(self, flow: int, target: Target, payload: bytes) -> None:
        if self._to_user.try_take(len(payload)):
            self._carrier.send_datagram(flow, target, payload)

    def _on_forget(self, flow: int) -> None:
        self._flows.forget(flow)
