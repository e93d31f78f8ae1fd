"""Which sessions there are, and who may have how many: the bookkeeping between messages and sessions.

A session is known by the peer's address (without sub-client prefix) and the session ID. A peer that is not
accepted gets no answer at all, as with nkn-sdk-go: it cannot tell a refusal from an absent client.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nconnect.errors import ProtocolError, UsageError
from nconnect.ncp.packet import CLOSE, UNKNOWN, decode
from nconnect.nkn.inbox import Seen
from nconnect.nkn.messages import MESSAGE_ID_SIZE

if TYPE_CHECKING:
    from nconnect.nkn.session import Session

logger = logging.getLogger(__name__)

# Each may hold a window (4 MiB) in each direction, and nkn-tunnel opens one for each TCP connection.
MAX_SESSIONS = 1024
MAX_SESSIONS_PER_PEER = 256
# So many of a peer's sessions get the whole window, and the n-th gets that part of it: all 256 together may
# have 60 windows waiting in our memory, not 256.
WHOLE_WINDOWS = 16
# Dials that the application has not accepted yet. Only their handshake is kept, 4 MiB in all. One peer's may
# come all in one turn of the loop: nkn-tunnel dials once for each TCP connection, with a single handshake,
# and who is dropped here has been refused (nkn-sdk-go acceptSessionBufSize: 128).
MAX_DIALS = 1024
MAX_DIALS_PER_PEER = 128
MAX_HANDSHAKE_SIZE = 4096
# A dial that was not repeated for so long has been given up, or is an official SDK's, which sends one
# handshake: few applications wait that long for its answer.
DIAL_SECONDS = 30.0

# A peer that goes on with a session that is over missed the close. It is told again, but what was under way
# when the close went out is no reason.
CLOSE_INTERVAL = 1.0
MAX_CLOSES = 4096

Key = tuple[str, bytes]


@dataclass(slots=True)
class Dial:
    """A peer's handshake that waits to be accepted."""

    remote_address: str
    remote_public_key: bytes
    session_id: bytes
    packet: bytes
    local_id: str
    remote_id: str
    last_seen: float


class SessionTable:
    """The sessions of a MultiClient, and the dials that wait to become some."""

    def __init__(self) -> None:
        self._sessions: dict[Key, Session] = {}
        self._dials: dict[Key, Dial] = {}
        self._accepts: list[re.Pattern[str]] | None = None
        self._hears: Callable[[str], bool] | None = None
        self._ended = Seen()
        self._closes: dict[tuple[bytes, bytes], float] = {}
        self.refused: int = 0

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, remote_address: str, session_id: bytes) -> Session | None:
        """The session of this peer with this ID."""
        return self._sessions.get((remote_address, session_id))

    def window(self, peer: bytes, size: int) -> int:
        """Bytes of window for another session with this peer, where ``size`` is for one."""
        number = 1 + sum(session.remote_public_key == peer for session in self._sessions.values())
        return size if number <= WHOLE_WINDOWS else max(size * WHOLE_WINDOWS // number, 1)

    def add(self, session: Session) -> None:
        """A session began."""
        self._sessions[session.remote_address, session.id] = session

    def remove(self, session: Session, now: float) -> None:
        """A session ended. Copies of its handshake that are still under way must not begin it again."""
        if self._sessions.pop((session.remote_address, session.id), None) is not None:
            self._ended.first(session.remote_public_key, session.id, now)
            self._told(session.remote_public_key, session.id, now)

    def owed_close(self, dial: Dial) -> bytes:
        """What tells the peer that the session of this packet is over; empty if it need not be told.

        It missed our close, or the session was that of an earlier process with our address, which crashed.
        """
        key = (dial.remote_public_key, dial.session_id)
        if dial.packet in (CLOSE, UNKNOWN):
            return b""
        ended = key in self._ended
        if not (ended or self._was_another_process(dial)):
            return b""
        if dial.last_seen - self._closes.get(key, -math.inf) < CLOSE_INTERVAL:
            return b""
        self._told(*key, dial.last_seen)
        return CLOSE if ended else UNKNOWN

    def _was_another_process(self, dial: Dial) -> bool:
        """Whether somebody whom we would accept goes on with a session that we never had."""
        if (dial.remote_address, dial.session_id) in self._dials or not self._accepted(dial.remote_address):
            return False
        try:
            goes_on = len(dial.session_id) == MESSAGE_ID_SIZE and not decode(dial.packet).handshake
        except ProtocolError:
            return False
        return goes_on and self._is_heard(dial.remote_address)

    def _told(self, peer: bytes, session_id: bytes, now: float) -> None:
        self._closes[peer, session_id] = now
        if len(self._closes) > MAX_CLOSES:
            del self._closes[next(iter(self._closes))]

    # --- dials from outside ---

    def listen(self, accept: Sequence[str] | None, hears: Callable[[str], bool] | None = None) -> None:
        """Accept peers whose address any of the regular expressions finds; None: all.

        The address is the one without sub-client prefix. As with nkn-sdk-go, an expression need not match all
        of it: ``<public key>$`` accepts a key with any identifier. ``hears`` is asked for each new session of
        theirs whether to answer it now. UsageError if one is not a regular expression.
        """
        patterns = []
        for pattern in [""] if accept is None else accept:
            try:
                patterns.append(re.compile(pattern))
            except re.error as error:
                raise UsageError(f"{pattern!r} is not a regular expression: {error}") from error
        self._accepts = patterns
        self._hears = hears

    def ignore(self) -> None:
        """Accept nobody, and forget who waits."""
        self._accepts = None
        self._dials.clear()

    def on_dial(self, dial: Dial) -> bool:
        """A packet of an unknown session came; True if it is a dial that waits to be accepted now."""
        key = (dial.remote_address, dial.session_id)
        if not self._accepted(dial.remote_address):
            return False
        if known := self._dials.get(key):
            known.last_seen = dial.last_seen
            if dial.packet == CLOSE:
                # The peer gave up, or another dial of it was answered first.
                del self._dials[key]
                self._ended.first(dial.remote_public_key, dial.session_id, dial.last_seen)
                self._told(dial.remote_public_key, dial.session_id, dial.last_seen)
            return False
        if not self._is_new_handshake(dial):
            return False
        if not self._is_heard(dial.remote_address):
            self.refused += 1
            return False
        if not self._has_room(dial):
            self.refused += 1
            logger.debug("a dial of %s was dropped: too many sessions", dial.remote_address)
            return False
        self._dials[key] = dial
        return True

    def _accepted(self, address: str) -> bool:
        return self._accepts is not None and any(accept.search(address) for accept in self._accepts)

    def _is_heard(self, address: str) -> bool:
        return self._hears is None or self._hears(address)

    def next_dial(self, now: float) -> Dial | None:
        """The dial that waits longest and has not been given up; it no longer waits then."""
        while self._dials:
            dial = self._dials.pop(next(iter(self._dials)))
            if now - dial.last_seen < DIAL_SECONDS:
                return dial
        return None

    def _is_new_handshake(self, dial: Dial) -> bool:
        if len(dial.session_id) != MESSAGE_ID_SIZE or len(dial.packet) > MAX_HANDSHAKE_SIZE:
            return False
        if (dial.remote_public_key, dial.session_id) in self._ended:
            return False
        try:
            return decode(dial.packet).handshake
        except ProtocolError:
            return False

    def _has_room(self, dial: Dial) -> bool:
        def of_peer(items: dict[Key, Dial] | dict[Key, Session]) -> int:
            return sum(item.remote_public_key == dial.remote_public_key for item in items.values())

        if len(self._dials) >= MAX_DIALS:
            self._forget_old(dial.last_seen)
        return (
            len(self._dials) < MAX_DIALS
            and len(self._sessions) + len(self._dials) < MAX_SESSIONS
            and of_peer(self._dials) < MAX_DIALS_PER_PEER
            and of_peer(self._sessions) < MAX_SESSIONS_PER_PEER
        )

    def _forget_old(self, now: float) -> None:
        for key, dial in tuple(self._dials.items()):
            if now - dial.last_seen >= DIAL_SECONDS:
                del self._dials[key]
