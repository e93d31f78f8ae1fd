"""How an instance is, from the last proofs of life: a state, why, and for how long.

===============  ==========================================================================================
connecting       there was no link yet
connected        the provider has just proved that it is alive (a user's side)
serving          at relays, so that users can dial (a provider's)
degraded         that, but some paths are gone, an offered route is left out, or the provider is silent
reconnecting     nothing can get through: no link, or no relay
refused          the provider does not let us in; it is asked again (`--wait`)
===============  ==========================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nconnect.errors import RefusedError
from nconnect.tunnel.status import PathStatus

GRACE = 2.0
"""Seconds that a path may be away: a relay that is left is replaced by another."""
FIRST_GRACE = 10.0
"""And that it may take to come: some relays are slow to let a client join."""
SILENT = 8.0
"""Seconds without a proof of life that are no good sign: more than from one ping to the next one's answer."""
NO_PATH = "no relay is connected"
NOT_YET = "not connected yet"


@dataclass(frozen=True)
class Health:
    state: str
    reason: str
    """Empty if all is well."""
    seconds: float
    """In this state."""


class Standing:
    """How a user stands with the provider. Times are of one clock, in seconds."""

    def __init__(self, now: float) -> None:
        self.since = now
        """Since when there has been a link, or none."""
        self._linked = False
        self._why = NOT_YET
        self._refused = False
        self._proof: float | None = None

    def linked(self, now: float) -> None:
        """There is a link."""
        self._linked, self._refused, self.since = True, False, now

    def lost(self, why: str, proof: float, now: float, *, refused: bool = False) -> None:
        """It has ended; the provider proved last at `proof` that it lives."""
        self._linked, self._refused, self._why = False, refused, why
        self._proof, self.since = proof, now

    def failed(self, error: Exception, now: float) -> None:
        """An attempt to have one did not succeed."""
        refused = isinstance(error, RefusedError)
        if refused != self._refused:
            self._refused, self.since = refused, now
        self._why = str(error)

    def proof(self, link_proof: float | None) -> float | None:
        """When the provider last proved that it lives; `link_proof`: on a link that there is."""
        return self._proof if link_proof is None else link_proof

    def health(
        self, now: float, link_proof: float | None, left_out: str, paths: Sequence[PathStatus]
    ) -> Health:
        """`left_out`: why what the provider offers cannot be had whole."""
        proof, seconds = self.proof(link_proof), now - self.since
        if self._linked:
            reasons = [left_out] if left_out else []
            if proof is not None and now - proof > SILENT:
                reasons.append(_silent(now - proof))
            return _with_paths("connected", seconds, reasons, paths)
        if self._refused:
            return Health("refused", self._why, seconds)
        if proof is None:
            return Health("connecting", self._why, seconds)
        return Health("reconnecting", f"{_silent(now - proof)} ({self._why})", seconds)


def serving(ready: bool, seconds: float, paths: Sequence[PathStatus]) -> Health:
    """Of who waits for others to dial, and runs for so long; `ready`: it has been at a relay."""
    if not ready:
        return Health("connecting", "not connected to a relay yet", seconds)
    return _with_paths("serving", seconds, [], paths)


def _silent(seconds: float) -> str:
    return f"no answer from the provider since {seconds:.0f} s"


def _with_paths(well: str, seconds: float, reasons: list[str], paths: Sequence[PathStatus]) -> Health:
    """The same, if paths allow it."""
    away = [path for path in paths if path.state != "ready"]
    if len(away) == len(paths):
        return Health("reconnecting", NO_PATH, min((path.seconds for path in paths), default=seconds))
    missing = [path for path in away if path.seconds >= (GRACE if path.was_ready else FIRST_GRACE)]
    if missing:
        reasons = [*reasons, *dict.fromkeys(path.error or "a relay does not answer" for path in missing)]
        # Since then: for no longer than all was well before.
        seconds = min(seconds, max(path.seconds for path in missing))
    return Health("degraded" if reasons else well, "; ".join(reasons), seconds)
