"""The one place that decides who is let in, to what, and for how long.

Three sources, of which the first that knows a key decides:

1. the policy file: what it says of a key, nothing else changes; `allow` and `revoke` of it are refused;
2. the store: what `allow`, `revoke` and invites wrote;
3. `serve --allow`: all that is served, as long as that gateway runs.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, Self

from nconnect.errors import NconnectError, RefusedError
from nconnect.permission import policy_file
from nconnect.permission.decision import Decision, RefusalCode, Source
from nconnect.permission.grants import Grant, format_size
from nconnect.permission.policy import PolicyFile
from nconnect.permission.store import FILE_NAME, Store, StoredUser
from nconnect.places import Places

CLOCK_INTERVAL = 60.0
"""Seconds after which the time is written although nobody uses anything: so much may a clock give back that
is set back."""

logger = logging.getLogger(__name__)


class OnEvent(Protocol):
    """Hears what happened to a key: "admitted", "refused", "changed", "cut" or "left"; for the audit."""

    def __call__(self, kind: str, key: bytes, **facts: object) -> None: ...


Redeem = Callable[[bytes, bytes, float], Grant]
"""Takes an invite's token, the key that shows it, and Unix seconds; writes the grant into the store and
returns it, or raises RefusedError."""

Expects = Callable[[str, bytes, float], bool]
"""Whether the identifier of a user's NKN address shows that its key holds an open invite, at these Unix
seconds."""


class Authority:
    """Decides from policy file, store and command line; `close` it, which closes the store.

    Bytes that users use are counted here at once and in the store now and then (`save_usage`).
    """

    def __init__(self, store: Store, policy: Path | None = None, given: Iterable[bytes] = ()) -> None:
        """Raises ConfigError if the policy file is wrong."""
        self.store = store
        self.given = frozenset(given)
        """The keys of `serve --allow`."""
        self._policy_path = policy
        self.policy = policy_file.load(policy) if policy is not None else PolicyFile(Path())
        """What the file said when it was last read; set it to `read_policy()`."""
        self._since: dict[bytes, float] = {}
        """Of each key that was let in, `StoredUser.since` at that moment; 0 if the store did not know it."""
        self._unsaved: defaultdict[bytes, Counter[float]] = defaultdict(Counter)
        """Bytes that the store does not know of, by key, and by the `since` of the grant that held then:
        they do not count towards another one, which a command may put in its place."""
        self._latest = 0.0
        """`Store.latest_time`, when it was read last."""
        self._ended = False
        """Whether something has expired by a time that the store does not know of yet."""
        self.on_event: OnEvent = _nobody_listens
        self.redeemer: Redeem | None = None
        self.expects: Expects = lambda identifier, key, now: False

    @classmethod
    def open(cls, places: Places, given: Iterable[bytes] = ()) -> Self:
        """From the store and the policy file that are in their places."""
        store = Store(places.state / FILE_NAME)
        try:
            return cls(store, places.policy, given)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Save what was counted, and let go of the store; never raises."""
        try:
            self.save_usage()
        except NconnectError as error:
            logger.warning("what users used in the last seconds is not counted: %s", error)
        self.store.close()

    def read_policy(self) -> PolicyFile:
        """What the policy file says now, for `policy`; a large one takes a second, so call it in a thread.

        Raises:
            ConfigError: it is wrong.
        """
        return policy_file.load(self._policy_path) if self._policy_path is not None else self.policy

    def count(self) -> int:
        """How many keys are let in, or would be if nothing had expired or was used up."""
        return len(self.store.keys() | self.policy.users.keys() | self.given)

    # Deciding

    def now(self) -> float:
        """`Store.now`; while the store cannot be read, by what it said before."""
        with contextlib.suppress(NconnectError):  # whoever asks it for more says so
            self._latest = self.store.latest_time()
        return max(time.time(), self._latest)

    def decide(self, key: bytes, now: float) -> Decision:
        """What this key gets at `now` (Unix seconds).

        Raises:
            HostError: the store cannot be read.
        """
        stored = self.store.find(key)
        decision = self._decide(key, stored, now)
        if decision.grant is not None:
            self._since[key] = stored.since if stored is not None else 0.0
        self._ended |= decision.code == RefusalCode.EXPIRED and now > self._latest
        return decision

    def _decide(self, key: bytes, stored: StoredUser | None, now: float) -> Decision:
        named = self.policy.users.get(key)
        unsaved = self._unsaved.get(key, Counter())
        if named is not None:
            return _within_quota(named.decide(now), (stored.used if stored else 0) + unsaved.total())
        if stored is not None and stored.revoked:
            return _refused(RefusalCode.REVOKED, "the provider has revoked your access", stored.name)
        if stored is not None and stored.allowed:
            return _within_quota(_stored(stored, now), stored.used_of_grant + unsaved[stored.since])
        if key in self.given:
            return Decision(Grant(), source=Source.COMMAND_LINE, by=Source.COMMAND_LINE)
        return _refused(RefusalCode.NOT_ADMITTED, "this key is not admitted")

    def decide_by_what_is_known(self, key: bytes, before: Decision, used: int, now: float) -> Decision:
        """What clock, counter and policy file have left of an earlier decision: no more than it was.

        For when the store cannot be read. `used` are the bytes that count towards the grant's quota.
        """
        named = self.policy.users.get(key)
        if named is not None:
            return _within_quota(named.decide(now), used)
        if before.until is not None and now >= before.until:
            return _expired(before.name, before.source)
        return _within_quota(before, used)

    def redeem(self, token: bytes, key: bytes, now: float) -> Grant:
        """Let a key in that shows an invite.

        Raises:
            RefusedError: the invite is none, or none any more.
        """
        if self.redeemer is None:
            raise RefusedError(RefusalCode.INVITE, "this provider takes no invites")
        return self.redeemer(token, key, now)

    # Counting

    def count_usage(self, key: bytes, used: int) -> None:
        """Bytes that a user sent or received, under the grant by which `decide` last let them in."""
        self._unsaved[key][self._since.get(key, 0.0)] += used

    def save_usage(self) -> None:
        """Write what was counted into the store, and what time it is, if that matters.

        Raises:
            HostError: it cannot be written; it is tried again the next time.
        """
        if self._unsaved or self._ended or time.time() - self._latest >= CLOCK_INTERVAL:
            self.store.add_usages(self._unsaved)
        self._unsaved.clear()
        self._ended = False


def _stored(user: StoredUser, now: float) -> Decision:
    expires = user.grant.expires
    if expires is not None and now >= expires:
        return _expired(user.name, Source.STORE)
    return Decision(user.grant, user.name, Source.STORE, user.by, until=expires)


def _expired(name: str, source: Source) -> Decision:
    return _refused(RefusalCode.EXPIRED, "what you were granted has expired", name, source)


def _within_quota(decision: Decision, used: int) -> Decision:
    grant = decision.grant
    if grant is None or not grant.quota or used < grant.quota:
        return decision._replace(used=used)
    reason = f"your quota of {format_size(grant.quota)} is used up"
    return decision._replace(grant=None, until=None, used=used, code=RefusalCode.QUOTA, reason=reason)


def _refused(code: int, reason: str, name: str = "", source: Source = Source.NOBODY) -> Decision:
    return Decision(None, name, source, code=code, reason=reason)


def _nobody_listens(kind: str, key: bytes, **facts: object) -> None:
    pass
