"""Being let in: from a provider's address to a link whose provider has welcomed us, and back to one when it
is lost. What every kind of user shares; what Welcome is then used for is the user's own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Generic, TypeVar

from nconnect.errors import (
    ClosedError,
    NetworkError,
    ProtocolError,
    RefusedError,
    RouteConflictError,
    TurnedAwayError,
)
from nconnect.nkn.addresses import Address
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient
from nconnect.permission import invites
from nconnect.secure.identity import Identity
from nconnect.tunnel import control
from nconnect.tunnel.link import USER_SESSION, Link

logger = logging.getLogger(__name__)

WELCOME_TIMEOUT = 10.0
"""Seconds for the provider to decide."""
MAPPINGS_TIMEOUT = 10.0
"""Seconds for the provider to change its firewall."""
FIRST_RETRY = 0.5
LAST_RETRY = 15.0
"""Seconds between the beginnings of two attempts to dial a lost provider, doubling from the first to the
last. Most attempts last longer: a dial is repeated each second while it lasts, and waits for a network."""

STABLE_SECONDS = 30.0
"""A link that held for so long was a good one, and its loss is worth an attempt at once. Two machines with
one key, each of which takes the link from the other, must not do so many times a second."""
PASSING_REFUSALS = (control.RefusalCode.FULL, control.RefusalCode.BUSY)
"""What a provider may think better of by itself; not what follows from who we are."""
REFUSALS_TO_WAIT_OUT = (
    control.RefusalCode.NOT_ADMITTED,
    control.RefusalCode.EXPIRED,
    control.RefusalCode.QUOTA,
    control.RefusalCode.REVOKED,
)
"""What a word of the provider's owner changes, for which `--wait` waits."""
FIRST_WAIT = 3.0
"""Seconds until a user who was not let in asks again; the provider hears no stranger twice in 2 s."""

T = TypeVar("T")


def identifier(kind: str, key: KeyPair, invite: bytes) -> str:
    """The identifier of a user's NKN address, another one each time.

    Sessions of an earlier start cannot reach this one then. A provider knows by it who has an invite, before
    the handshake.
    """
    knock = f"-{invites.knock(invite, key.public_key)}" if invite else ""
    return f"{kind}-{secrets.token_hex(4)}{knock}"


async def join(client: MultiClient, peer: Address, hello: control.Hello) -> tuple[Link, control.Welcome]:
    """A link to `peer`, which pings, and what the provider welcomes us with.

    Nobody but the holder of the key in `peer` sees the invite in `hello`: TLS has verified it by then.

    Raises:
        RefusedError: it does not let us in.
        NetworkError, ProtocolError: it could not be reached, or does not speak as it should.
    """
    try:
        session = await client.dial(str(peer), USER_SESSION)
        link = await Link.open(session, Identity(client.key.seed), server=False)
    except ClosedError as error:
        raise TurnedAwayError(
            "the provider ended the session before TLS was done; it may be busy, try again in some seconds"
        ) from error
    try:
        link.send(hello)
        async with asyncio.timeout(WELCOME_TIMEOUT):
            answer = await link.receive()
        match answer:
            case control.Welcome():
                _check_version(answer)
            case control.Refused():
                raise refusal(client.key.public_key, answer)
            case _:
                raise ProtocolError(f"the provider answered Hello with {type(answer).__name__}")
    except TimeoutError as error:
        link.abort()
        raise ClosedError("the provider did not answer Hello; is it the same version?") from error
    except BaseException:
        link.abort()
        raise
    link.start_pings()
    return link, answer


async def ask_for_mappings(
    client: MultiClient, link: Link, welcome: control.Welcome, question: control.Mappings
) -> tuple[control.Welcome, control.Mappings]:
    """What the provider, which has just welcomed us, answers; and its welcome as it stands by then.

    Raises:
        RefusedError: it lets us in no longer.
        NetworkError, ProtocolError: the link is lost.
    """
    link.send(question)
    try:
        async with asyncio.timeout(MAPPINGS_TIMEOUT):
            while True:
                match await link.receive():
                    case control.Mappings() as answer:
                        return welcome, answer
                    case control.RoutesChanged(routes):
                        welcome = replace(welcome, routes=routes)
                    case control.Refused() as refused:
                        raise refusal(client.key.public_key, refused)
                    case control.Bye(reason):
                        raise ClosedError(f"the provider said goodbye: {reason}")
    except TimeoutError as error:
        raise ClosedError("the provider did not say which prefixes it translates") from error


class Redial(Generic[T]):
    """Dials a lost provider again, less and less often, until a link has held for a while.

    With `wait` it also waits for a provider who does not let us in (yet, or any more), from the first dial
    on, and says so once.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[T]],
        failed: Callable[[Exception], None],
        say: Callable[[str], None],
        *,
        wait: bool = False,
    ) -> None:
        self._dial = dial
        self._failed = failed
        self._say = say
        self._wait = wait
        self._said = ""
        self._was_linked = False
        self._loop = asyncio.get_running_loop()
        self._delay = 0.0
        self._dialled = self._loop.time()

    async def first(self) -> T:
        """The first link.

        Raises:
            RefusedError, and all else that another attempt will not mend; without `wait`, NetworkError too.
        """
        if self._wait:
            return await self.again()
        try:
            link = await self._dial()
        except TurnedAwayError as error:
            # Whoever was refused just now and has an invite by now, say, comes too early for the provider.
            logger.info("dialling once more: %s", error)
            await asyncio.sleep(FIRST_WAIT)
            link = await self._dial()
        self._was_linked = True
        return link

    def lost(self, error: RefusedError) -> None:
        """The provider ended the link on purpose; raises `error` again, unless that is to be waited out."""
        if not self._is_passing(error):
            raise error
        self._delay = max(self._delay, FIRST_WAIT)

    def _is_passing(self, error: Exception) -> bool:
        if isinstance(error, RouteConflictError):
            # The machine is for a while in a network that has our addresses; at first it is a mistake.
            return self._was_linked
        if not isinstance(error, RefusedError):
            return True
        return error.code in PASSING_REFUSALS or (self._wait and error.code in REFUSALS_TO_WAIT_OUT)

    async def again(self) -> T:
        """A new link in place of the last one: what the first `dial` returned, or this method.

        Raises:
            RefusedError, and all else that another attempt will not mend.
        """
        if self._loop.time() - self._dialled >= STABLE_SECONDS:
            self._delay = 0.0
        due = self._loop.time() + self._delay
        while True:
            await asyncio.sleep(due - self._loop.time())
            self._delay = min(max(self._delay * 2, FIRST_RETRY), LAST_RETRY)
            due = self._loop.time() + self._delay
            try:
                link = await self._dial()
                self._dialled = self._loop.time()
                self._said = ""
                self._was_linked = True
                return link
            except (NetworkError, ProtocolError, RefusedError, RouteConflictError) as error:
                if not self._is_passing(error):
                    raise
                if isinstance(error, RefusedError) and error.code in REFUSALS_TO_WAIT_OUT:
                    due = max(due, self._loop.time() + FIRST_WAIT)
                    if str(error) != self._said:
                        self._said = str(error)
                        self._say(f"{error}\nwaiting for that")
                self._failed(error)
                logger.info("dialling again: %s", error)


async def until_lost(
    client: MultiClient,
    link: Link,
    on_routes: Callable[[tuple[control.IPNetwork, ...]], None] = lambda routes: None,
    on_mappings: Callable[[control.Mappings], None] = lambda answer: None,
) -> str:
    """Follow the control channel until the link ends; why it did. `on_routes` hears of other routes,
    `on_mappings` of the provider's answers.

    Raises:
        RefusedError: the provider lets us in no longer.
    """
    try:
        while True:
            match await link.receive():
                case control.Bye(reason):
                    link.abort()
                    return f"the provider said goodbye: {reason}"
                case control.RoutesChanged(routes):
                    on_routes(routes)
                case control.Mappings() as answer:
                    on_mappings(answer)
                case control.Refused() as refused:
                    link.abort()
                    raise refusal(client.key.public_key, refused)
                case message:
                    logger.debug("ignored %s from the provider", type(message).__name__)
    except (NetworkError, ProtocolError) as error:
        return str(error)


def _check_version(welcome: control.Welcome) -> None:
    if welcome.version[0] != control.VERSION_MAJOR:
        raise RefusedError(
            control.RefusalCode.VERSION,
            f"the provider speaks version {welcome.version[0]}, this is {control.VERSION_MAJOR}; "
            "upgrade the older one",
        )


def refusal(public_key: bytes, refused: control.Refused) -> RefusedError:
    """What the provider said, in words for the user, whose key is `public_key`."""
    key = public_key.hex()
    text = f"the provider refused: {refused.reason}"
    if refused.code == control.RefusalCode.NOT_ADMITTED:
        text = f"not admitted yet; your key is {key}"
    elif refused.code in REFUSALS_TO_WAIT_OUT:
        text += f"; your key is {key}"
    if refused.code == control.RefusalCode.INVITE:
        text += f"; your key is {key}\nask the provider for another invite, or to run: nconnect allow {key}"
    if refused.code in REFUSALS_TO_WAIT_OUT:
        text += f"\nask the provider to run: nconnect allow {key}"
    return RefusedError(refused.code, text)
