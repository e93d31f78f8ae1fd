"""Letting users in: from a session that somebody dialled to a user who was welcomed.

What every kind of provider shares: TLS, Hello, the authority's decision, Welcome or Refused, and bounds on
what strangers may cost. What a user gets, and what is then done with the link, is the provider's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Never

from nconnect.errors import HostError, NconnectError, RefusedError, UsageError
from nconnect.nkn.listener import Listener
from nconnect.nkn.session import Session
from nconnect.permission.authority import Authority
from nconnect.permission.bucket import Bucket
from nconnect.permission.decision import Decision, Source
from nconnect.permission.grants import Grant
from nconnect.permission.keys import check_name
from nconnect.permission.knocks import MAX_KNOCKS, Knocks
from nconnect.secure.identity import Identity
from nconnect.tunnel import control, status
from nconnect.tunnel.guests import refuse
from nconnect.tunnel.link import Link

logger = logging.getLogger(__name__)

MAX_HANDSHAKES = 64
"""Sessions of strangers that are not refused yet, in total: a TLS handshake costs some milliseconds and up to
1 MB. NKN vouches for whose a session is, so strangers take no place from who is let in."""
MAX_HANDSHAKES_PER_KEY = 2
"""One that hangs and its successor."""
STRANGERS_PER_SECOND = 10
STRANGERS_AT_ONCE = 16
"""Handshakes with strangers in the long run, and at once: at some 3 ms each, 3 % of the time in which users'
packets wait. As many again with those who were invited."""
STRANGER_INTERVAL = 2.0
"""Seconds between two handshakes of one stranger: one who dials without a pause must not use up what there is
for all, so that nobody else's knock is heard."""
ANSWERS_PER_SECOND = 20
ANSWERS_AT_ONCE = 32
"""Sessions of strangers that are answered at all, in the long run and at once: who comes too often hears that
the session is over, while there are few of them. An answer costs a millisecond, and who floods us with dials
gets none: silence costs a tenth of that. Who dials again meanwhile, as all do for seconds, is heard later."""
REDIALS_PER_SECOND = 2
REDIALS_AT_ONCE = 32
"""Handshakes with one user who is let in: as many as somebody needs whose network comes and goes, and less
than a hundredth of the time in the long run."""
MAX_REDIALLING = 4096
"""Users whose handshakes are counted; one who is forgotten has all at once again."""
HELLO_TIMEOUT = 10.0
"""Seconds from TLS to Hello."""

Offer = Callable[[bytes, control.Hello, Grant], control.Welcome]
"""What an admitted key gets for its Hello and its grant; RefusedError if it gets nothing now."""


@dataclass(frozen=True)
class Admitted:
    """A user who was welcomed."""

    link: Link
    hello: control.Hello
    welcome: control.Welcome
    decision: Decision

    @property
    def name(self) -> str:
        """What the provider calls the user, or else, in parentheses, the user.

        Nobody passes for somebody else by what they say: no name that a provider gives begins so.
        """
        return self.decision.name or _self_said(self.hello.name)


def _self_said(name: str) -> str:
    """What users call themselves, as it is shown; nothing if it could be no user's name, such as a key."""
    try:
        return f"({check_name(name)})"
    except UsageError:
        return ""


Follow = Callable[[Admitted], Awaitable[None]]
"""Serves a user until the link ends."""


class Admission:
    """Lets in whom `authority` admits: `offer` says what they get, `follow` serves them."""

    def __init__(
        self,
        identity: Identity,
        authority: Authority,
        say: Callable[[str], None],
        suits: Callable[[control.Hello], None],
        offer: Offer,
        follow: Follow,
    ) -> None:
        """`suits` raises RefusedError for who wants something else than this kind of provider has."""
        self._identity = identity
        self._authority = authority
        self._say = say
        self._suits = suits
        self._offer = offer
        self._follow = follow
        self._loop = asyncio.get_running_loop()
        self._sessions: set[asyncio.Task[None]] = set()
        self._knocks = Knocks()
        self._knocked: OrderedDict[bytes, float] = OrderedDict()
        now = self._loop.time()
        self._strangers = Bucket(STRANGERS_AT_ONCE, STRANGERS_PER_SECOND, now)
        self._invited = Bucket(STRANGERS_AT_ONCE, STRANGERS_PER_SECOND, now)
        self._redials: OrderedDict[bytes, Bucket] = OrderedDict()
        self._answers = Bucket(ANSWERS_AT_ONCE, ANSWERS_PER_SECOND, now)
        self._answers_to_invited = Bucket(ANSWERS_AT_ONCE, ANSWERS_PER_SECOND, now)
        self.handshakes: Counter[bytes] = Counter()
        """Sessions that are neither welcomed nor refused yet, by key."""

    def hears(self, address: str) -> bool:
        """Whether to answer what comes from this address for a new session: users always, strangers while
        they are few. For `MultiClient.listen`.
        """
        # Not `Address.parse`: strangers may have identifiers that it refuses.
        identifier, _, digits = address.rpartition(".")
        key, now = bytes.fromhex(digits), self._authority.now()
        # Where permissions cannot be read, `_serve` says so.
        with contextlib.suppress(HostError):
            if self._authority.decide(key, now).grant is not None:
                return True
            if self._authority.expects(identifier, key, now):
                # Who has one invite can say so for any number of keys.
                return self._answers_to_invited.take(self._loop.time())
        return self._answers.take(self._loop.time())

    async def accept(self, listener: Listener) -> Never:
        """Take every session that is dialled, until cancelled."""
        while True:
            task = asyncio.create_task(self._serve(await listener.accept()))
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

    async def close(self) -> None:
        """End all sessions."""
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _serve(self, session: Session) -> None:
        """A session from its first byte to its last; whatever it does costs nobody else anything."""
        key = session.remote_public_key
        try:
            identifier = session.remote_address.rpartition(".")[0]
            if not self._has_room_for(key, identifier):
                logger.debug("too many handshakes under way; dropped one of %s", key.hex())
                return
            with self._handshaking(key):
                link = await Link.open(session, self._identity, server=True)
                admitted = await self._admit(link)
            if admitted is not None:
                await self._follow_to_the_end(admitted)
        except HostError as error:
            logger.warning("session of %s ended: %s", key.hex(), error)
        except NconnectError as error:
            logger.info("session of %s ended: %s", key.hex(), error)
        except Exception as error:
            # A mistake of ours that one peer can reach must not end the service for the others.
            logger.error("session of %s ended by %s: %s", key.hex(), type(error).__name__, error)
            logger.debug("where", exc_info=True)
        finally:
            session.abort()

    async def _follow_to_the_end(self, user: Admitted) -> None:
        link, key, since = user.link, user.link.remote_public_key, self._loop.time()
        event = self._authority.on_event
        addresses = [str(address) for address in user.welcome.addresses]
        event("admitted", key, name=user.name, decision=user.decision, addresses=addresses)
        try:
            await self._follow(user)
        finally:
            seconds = self._loop.time() - since
            event(
                "left", key, name=user.name, seconds=seconds, bytes_in=link.bytes_in, bytes_out=link.bytes_out
            )

    def _has_room_for(self, key: bytes, identifier: str) -> bool:
        now = self._authority.now()
        if self.handshakes[key] >= MAX_HANDSHAKES_PER_KEY:
            return False
        if self._authority.decide(key, now).grant is not None:
            return self._may_redial(key)
        if self._authority.expects(identifier, key, now):
            # However many strangers knock, who was invited is heard.
            return self.handshakes.total() < 2 * MAX_HANDSHAKES and self._invited.take(self._loop.time())
        return self.handshakes.total() < MAX_HANDSHAKES and self._may_knock(key)

    def _may_redial(self, key: bytes) -> bool:
        """Whether a user who is let in may have another handshake now."""
        now = self._loop.time()
        bucket = self._redials.pop(key, None) or Bucket(REDIALS_AT_ONCE, REDIALS_PER_SECOND, now)
        self._redials[key] = bucket
        if len(self._redials) > MAX_REDIALLING:
            self._redials.popitem(last=False)
        return bucket.take(now)

    def _may_knock(self, key: bytes) -> bool:
        """Whether this stranger may cost us a handshake now."""
        now = self._loop.time()
        if now - self._knocked.get(key, -math.inf) < STRANGER_INTERVAL:
            return False
        if not self._strangers.take(now):
            return False
        self._knocked.pop(key, None)
        self._knocked[key] = now
        if len(self._knocked) > MAX_KNOCKS:
            self._knocked.popitem(last=False)
        return True

    @contextlib.contextmanager
    def _handshaking(self, key: bytes) -> Iterator[None]:
        self.handshakes[key] += 1
        try:
            yield
        finally:
            self.handshakes[key] -= 1
            if not self.handshakes[key]:
                del self.handshakes[key]

    async def _admit(self, link: Link) -> Admitted | None:
        """Hear Hello and answer it; None for a user who is not let in."""
        key = link.remote_public_key
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                hello = await link.receive()
        except TimeoutError:
            await link.close("no Hello")
            return None
        if not isinstance(hello, control.Hello):
            await link.close("Hello comes first")
            return None
        try:
            decision, grant = self._decide(key, hello)
            self._suits(hello)
            welcome = self._offer(key, hello, grant)
        except RefusedError as refusal:
            reason = refusal.reason
            self._authority.on_event("refused", key, name=hello.name, code=refusal.code, reason=reason)
            await refuse(link, refusal.code, reason)
            return None
        link.send(welcome)
        self._knocks.forget(key)
        return Admitted(link, hello, welcome, decision)

    def _decide(self, key: bytes, hello: control.Hello) -> tuple[Decision, Grant]:
        """RefusedError if this key is not let in, or speaks another version."""
        if hello.version[0] != control.VERSION_MAJOR:
            raise RefusedError(
                control.RefusalCode.VERSION,
                f"this provider speaks version {control.VERSION_MAJOR}, you speak {hello.version[0]}; "
                "upgrade the older one",
            )
        decision = self._authority.decide(key, self._authority.now())
        if hello.invite_token and decision.source is not Source.FILE:
            # Before the invite is used up: the same person may be right with another command.
            self._suits(hello)
            decision = self._redeem(hello.invite_token, key, decision)
        if decision.grant is None:
            if self._knocks.knock(key, hello.name, self._loop.time()):
                self._say(self._knock_line(key, hello.name, decision))
            raise RefusedError(decision.code, decision.reason)
        return decision, decision.grant

    def _redeem(self, token: bytes, key: bytes, before: Decision) -> Decision:
        """What a key gets that shows an invite. A stale one takes nothing from a key that is let in."""
        try:
            self._authority.redeem(token, key, self._authority.now())
        except RefusedError as refusal:
            logger.info("the invite of %s is refused: %s", key.hex(), refusal)
            return before if before.grant else before._replace(code=refusal.code, reason=refusal.reason)
        except HostError as error:
            self._say(f"warning: the invite of {key.hex()} cannot be used: {error}")
            reason = "it cannot take your invite now; its log says why"
            return before if before.grant else before._replace(code=control.RefusalCode.BUSY, reason=reason)
        after = self._authority.decide(key, self._authority.now())
        if after.grant is not None and after.by != before.by:
            self._authority.on_event("redeemed", key, name=after.name, decision=after)
        return after

    def _knock_line(self, key: bytes, name: str, decision: Decision) -> str:
        why = "" if decision.code == control.RefusalCode.NOT_ADMITTED else f": {decision.reason}"
        how = f"nconnect allow {key.hex()}"
        if decision.source is Source.FILE:
            how = f"change {self._authority.policy.path}, which names it"
        return f"not let in: {key.hex()} ({name or 'no name'}){why}; to let it in: {how}"

    def pending(self) -> list[status.KnockStatus]:
        """Who asked and was not let in, the latest last; not who would be by now."""
        now, at = self._authority.now(), self._loop.time()
        return [
            status.KnockStatus(knock.key.hex(), knock.name, knock.count, at - knock.first, at - knock.last)
            for knock in self._knocks
            if not self._lets_in(knock.key, now)
        ]

    def _lets_in(self, key: bytes, now: float) -> bool:
        """Nobody, while permissions cannot be read."""
        with contextlib.suppress(HostError):
            return self._authority.decide(key, now).grant is not None
        return False
