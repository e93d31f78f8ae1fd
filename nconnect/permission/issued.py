"""The provider's records of its invites: which were issued, used by whom, cancelled.

They are in the store of users, so that using an invite up and writing the grant is one transaction: through a
crash, a restart and two users at once an invite for one lets in one. An invite that is not in the records is
refused although it is signed: with the records its cancellation would be lost.
"""

from __future__ import annotations

import hmac
import re
import sqlite3
from dataclasses import dataclass

from nconnect.errors import CryptoError, DecodeError, RefusedError, UsageError
from nconnect.nkn.keys import KeyPair
from nconnect.permission import invites
from nconnect.permission.decision import RefusalCode
from nconnect.permission.grants import Grant, parse_targets
from nconnect.permission.invites import Invite
from nconnect.permission.store import BY_INVITE, Store

MAX_INVITES = 10_000
"""Invites that have not expired: far more than people send, some megabytes."""
MAX_USERS = 256
"""Users of one invite; one that so many have used has got into the wrong hands."""

_SELECT = "SELECT nonce, head, issued, cancelled FROM invites"
_KNOCK = re.compile(r"-([0-9a-f]{16})-([0-9a-f]{16})\Z", re.ASCII)


@dataclass(frozen=True)
class Issued:
    """An invite that has not expired."""

    invite: Invite
    issued: float
    """Unix seconds."""
    cancelled: bool
    users: tuple[bytes, ...]
    """The keys that were let in by it, the first one first."""

    @property
    def state(self) -> str:
        """open, used up, or cancelled."""
        if self.cancelled:
            return "cancelled"
        return "used up" if len(self.users) >= _most_users(self.invite) else "open"


class Invites:
    """The invites of one provider, in its store."""

    def __init__(self, store: Store, provider: KeyPair) -> None:
        self._store = store
        self._provider = provider

    def issue(self, invite: Invite, now: float) -> str:
        """Sign and record an invite; the string that the provider passes on.

        Raises:
            UsageError: it holds too much, or there are too many.
        """
        text = invites.to_text(invites.sign(invite, self._provider))
        with self._store.transaction() as db:
            _forget_expired(db, now)
            (count,) = db.execute("SELECT count(*) FROM invites").fetchone()
            if count >= MAX_INVITES:
                raise UsageError(f"{MAX_INVITES} invites have not expired, which is the limit")
            db.execute(
                "INSERT INTO invites (nonce, head, issued, expires) VALUES (?, ?, ?, ?)",
                (invite.nonce, invites.encode_head(invite), now, invite.expires),
            )
        return text

    def all(self, now: float) -> list[Issued]:
        """All that have not expired, the first one first."""
        with self._store.transaction() as db:
            _forget_expired(db, now)
            rows = db.execute(_SELECT + " ORDER BY issued").fetchall()
            return [_issued(db, row) for row in rows]

    def cancel(self, invite_id: str, now: float) -> Issued:
        """Let nobody else in by an invite; returns it as it was.

        Raises:
            UsageError: there is none of that ID.
        """
        for issued in self.all(now):
            if issued.invite.id == invite_id.lower():
                with self._store.transaction() as db:
                    db.execute("UPDATE invites SET cancelled = 1 WHERE nonce = ?", (issued.invite.nonce,))
                return issued
        raise UsageError(
            f"there is no invite {invite_id[:64]!r} that has not expired; "
            "see them with: nconnect invite --list"
        )

    def redeem(self, token: bytes, key: bytes, now: float) -> Grant:
        """Let a key in that shows a token; the grant that it has then.

        A key that was let in by the same invite before keeps what it has, and so does one that the provider
        has allowed since the invite was made: that is the later word. TLS must have proved that the user
        holds `key`.

        Raises:
            RefusedError: the invite is none, or none any more; or the key was revoked.
            HostError: it lets in for a time, and the clock is behind; it is still open then.
        """
        invite = self._decode(token)
        with self._store.transaction() as db:
            user = self._store.find(key)
            if user is not None and user.revoked:
                raise RefusedError(
                    RefusalCode.REVOKED, "the provider has revoked your access, and no invite gives it back"
                )
            row = db.execute(_SELECT + " WHERE nonce = ?", (invite.nonce,)).fetchone()
            if user is not None and user.allowed and user.invite == invite.id:
                return user.grant
            if now >= invite.expires:
                raise _refused(invite, "has expired")
            if row is None:
                raise _refused(invite, "is not in this provider's records any more")
            issued = _issued(db, row)
            _check(issued, key)
            if user is not None and user.allowed and not user.invite and user.since >= issued.issued:
                return user.grant
            db.execute("INSERT INTO redeemed VALUES (?, ?, ?)", (invite.nonce, key, now))
            return self._let_in(key, invite)

    def expects(self, identifier: str, key: bytes, now: float) -> bool:
        """Whether the `identifier` in a user's NKN address shows that they hold an open invite.

        It lets nobody in: it tells, before a handshake, who is no stranger. `invites.knock` makes it.
        """
        match = _KNOCK.search(identifier)
        if match is None:
            return False
        with self._store.reading() as db:
            row = db.execute(
                _SELECT + " WHERE nonce = ? AND expires > ?", (bytes.fromhex(match[1]), now)
            ).fetchone()
            if row is None or _issued(db, row).state != "open":
                return False
        # Ed25519 has one signature of a text, so it need not be kept.
        signature = self._provider.sign(invites.CONTEXT + row[1])
        return hmac.compare_digest(match[2], invites.knock_proof(signature, key))

    def _let_in(self, key: bytes, invite: Invite) -> Grant:
        expires = self._store.end_of(invite.seconds) if invite.seconds else None
        try:
            grant = Grant(parse_targets(invite.targets), expires, invite.rate, invite.quota)
            return self._store.allow(
                key, invite.name, grant, by=BY_INVITE + invite.id, another_name=True
            ).grant
        except UsageError as error:
            raise _refused(invite, f"cannot be used: {error}") from error

    def _decode(self, token: bytes) -> Invite:
        try:
            invite = invites.decode(token)
        except (DecodeError, CryptoError) as error:
            raise RefusedError(RefusalCode.INVITE, str(error)) from error
        if invite.provider != self._provider.public_key:
            raise _refused(invite, "is another provider's")
        return invite


def open_invites(store: Store, key: bytes, now: float) -> list[str]:
    """The IDs of the invites that have let this key in and would let in others."""
    with store.reading() as db:
        rows = [
            db.execute(_SELECT + " WHERE nonce = ? AND expires > ?", (nonce, now)).fetchone()
            for nonce in store.invites_of(key)
        ]
        found = [_issued(db, row) for row in rows if row is not None]
    return [issued.invite.id for issued in found if issued.state == "open"]


def issued_after(store: Store, time: float) -> list[Issued]:
    """Those that would let somebody in and were made later than this: by a clock that was ahead."""
    with store.reading() as db:
        rows = db.execute(_SELECT + " WHERE issued > ? ORDER BY issued", (time,)).fetchall()
        found = [_issued(db, row) for row in rows]
    return [issued for issued in found if issued.state == "open"]


def _check(issued: Issued, key: bytes) -> None:
    """RefusedError if this key is not let in by this invite, or not again."""
    if issued.cancelled:
        raise _refused(issued.invite, "was cancelled")
    if key in issued.users:
        raise _refused(issued.invite, "has let you in before, and what it gave you has ended")
    if issued.state != "open":
        raise _refused(issued.invite, "was used already")


def _refused(invite: Invite, why: str) -> RefusedError:
    return RefusedError(RefusalCode.INVITE, f"the invite {invite.id} {why}")


def _most_users(invite: Invite) -> int:
    return 1 if invite.once else MAX_USERS


def _issued(db: sqlite3.Connection, row: tuple[bytes, bytes, float, int]) -> Issued:
    nonce, head, issued, cancelled = row
    users = db.execute("SELECT key FROM redeemed WHERE nonce = ? ORDER BY time", (nonce,)).fetchall()
    return Issued(invites.decode_head(head), issued, bool(cancelled), tuple(key for (key,) in users))


def _forget_expired(db: sqlite3.Connection, now: float) -> None:
    db.execute("DELETE FROM redeemed WHERE nonce IN (SELECT nonce FROM invites WHERE expires <= ?)", (now,))
    db.execute("DELETE FROM invites WHERE expires <= ?", (now,))
