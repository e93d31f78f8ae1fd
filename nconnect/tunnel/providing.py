"""What every kind of provider shares: whom it serves, how it says so, and how it leaves.

`nconnect serve` is a `tunnel.gateway.Gateway` or, without a TUN device, a `forward.provider.Provider`. Both
let users in by `Admission` and hold them to their grants by `Guests`; what a user gets is their own.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Never

from nconnect.config import NetworkSection
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.permission.authority import Authority
from nconnect.permission.grants import Grant
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, health, status
from nconnect.tunnel.admission import Admission, Admitted
from nconnect.tunnel.guests import Guests
from nconnect.tunnel.link import OVERLAY_SESSION, Link


@dataclass(frozen=True)
class ProvidingOptions:
    """What `nconnect serve` was asked for, whatever its kind."""

    lan: tuple[control.IPNetwork, ...]
    """What users reach whose grant names nothing else."""
    name: str
    network: NetworkSection


REPLACED = "another machine connected with your key"


class Providing(ABC):
    """Serves whom `authority` admits."""

    CONNECT: ClassVar[str]
    """The command by which users connect."""

    def __init__(
        self, options: ProvidingOptions, key: KeyPair, say: Callable[[str], None], authority: Authority
    ) -> None:
        network = options.network
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._name, self._lan = options.name, options.lan
        self._client = MultiClient(
            key, config=ClientConfig(seed_rpc=network.seed_rpc, sub_clients=network.sub_clients)
        )
        self._authority = authority
        self._guests = Guests(authority, say, self._regrant)
        identity = Identity(key.seed)
        self._admission = Admission(identity, authority, say, self._suits, self._offer, self._follow)
        self.ready = asyncio.Event()
        """Set when users can connect."""

    # What a kind of provider makes of it

    @property
    @abstractmethod
    def _links(self) -> Sequence[Link]:
        """Of everybody who is connected."""

    @abstractmethod
    def _regrant(self, grants: Mapping[bytes, Grant | None]) -> None:
        """Make these users have these grants from now on."""

    @abstractmethod
    def _suits(self, hello: control.Hello) -> None:
        """RefusedError if this user wants another kind of provider."""

    @abstractmethod
    def _offer(self, key: bytes, hello: control.Hello, grant: Grant) -> control.Welcome:
        """What an admitted user gets; RefusedError if that is nothing."""

    @abstractmethod
    async def _follow(self, admitted: Admitted) -> None:
        """Serve a user until the link ends."""

    @abstractmethod
    def _user_status(self) -> list[status.UserStatus]:
        """Everybody who is connected."""

    # Serving

    async def _serve(self) -> Never:
        """Join the network and serve until cancelled; then say goodbye to everybody.

        Raises:
            NetworkError: the NKN network could not be joined.
        """
        async with self._client:
            try:
                listener = self._client.listen(config=OVERLAY_SESSION, hears=self._admission.hears)
                self._announce()
                await self._admission.accept(listener)
            finally:
                await self._hang_up()

    def _replace(self, link: Link) -> None:
        """The user has another link now: end this one."""
        self._guests.leave(link)
        link.send(control.Bye(REPLACED))
        link.abort()

    def _announce(self) -> None:
        prefixes = ", ".join(map(str, self._lan))
        self._say(f"serving {prefixes} at {self._client.address}")
        self._say(f"a user connects with: {self.CONNECT} --peer {self._client.address}")
        if not self._authority.count():
            self._say("nobody is allowed yet; let somebody in with: nconnect invite")
        self.ready.set()

    async def _hang_up(self) -> None:
        """Tell every user that we go, and end their sessions."""
        await asyncio.gather(*(link.close("the provider stopped") for link in self._links))
        await self._admission.close()
        await self._guests.close()

    # Whom it serves

    def permissions_changed(self) -> list[str]:
        """Somebody was allowed or revoked: hold everybody who is connected to what holds now; a line for each
        for whom that is not what was meant."""
        self._guests.look()
        return self._guests.let_in_all_the_same()

    def reload(self) -> asyncio.Task[None]:
        """Read the policy file again; if it is wrong, what it said before stays."""
        return self._guests.reload()

    # Saying how it is

    def _status(
        self,
        *,
        interface: str = "",
        pool: Sequence[object] = (),
        packets: dict[str, int] | None = None,
        held: Sequence[status.HeldStatus] = (),
    ) -> status.ServeStatus:
        """The state of this moment; the rest is for those who have a TUN device."""
        paths = status.paths(self._client)
        standing = health.serving(self.ready.is_set(), self._loop.time() - self._started, paths)
        return status.ServeStatus(
            schema=status.SCHEMA,
            name=self._name,
            pid=os.getpid(),
            state=standing.state,
            reason=standing.reason,
            state_seconds=standing.seconds,
            address=self._client.address,
            interface=interface,
            lan=list(map(str, self._lan)),
            pool=list(map(str, pool)),
            allowed=self._authority.count(),
            users=self._user_status(),
            knocks=self._admission.pending(),
            paths=paths,
            packets=packets or {},
            held=list(held),
            given=[key.hex() for key in sorted(self._authority.given)],
        )
