"""The sliding window that tells a new counter from one seen before (RFC 6479)."""

from __future__ import annotations

from nconnect.errors import UsageError

_BLOCK_BITS = 8


class ReplayWindow:
    """Remembers which of the last `size` counters below the highest one have been marked.

    Call contract: `check` a counter before it is authenticated (cheap refusal of a replay), `mark` it
    afterwards, and only if it was authentic: a forged counter must not move the window.

    The bits lie in a ring of bytes, one byte longer than the window, so that moving on clears whole bytes
    ahead of the highest counter and never shifts anything.
    """

    __slots__ = ("_bits", "_highest", "size")

    def __init__(self, size: int) -> None:
        if size <= 0 or size % _BLOCK_BITS:
            raise UsageError(f"a replay window has a positive multiple of {_BLOCK_BITS} counters, not {size}")
        self.size = size
        self._bits = bytearray(size // _BLOCK_BITS + 1)
        self._highest = -1

    def check(self, counter: int) -> bool:
        """True when `counter` is new; False when it was marked, or is too old to tell."""
        if counter > self._highest:
            return True
        if self._highest - counter >= self.size:
            return False
        block = self._bits[counter // _BLOCK_BITS % len(self._bits)]
        return not block >> counter % _BLOCK_BITS & 1

    def mark(self, counter: int) -> None:
        """Remember `counter`, and move the window up to it when it is the highest so far."""
        bits = self._bits
        if counter > self._highest:
            first = self._highest // _BLOCK_BITS + 1
            last = counter // _BLOCK_BITS
            for block in range(max(first, last - len(bits) + 1), last + 1):
                bits[block % len(bits)] = 0
            self._highest = counter
        elif self._highest - counter >= self.size:
            return
        bits[counter // _BLOCK_BITS % len(bits)] |= 1 << counter % _BLOCK_BITS
