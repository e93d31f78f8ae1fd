"""Data batches, encrypted: AES-256-GCM with keys from the TLS exporter.

::

    u8 key id | u64le counter | AES-256-GCM(batch), 16-byte tag at the end

The 9 bytes in front are the additional data.  Each direction has keys of its own, one after the other: the
key of an epoch is ``exporter(direction || u64le epoch, 32)``, the key id is the epoch's lowest byte, and the
counter starts at 0 with every epoch, so that the nonce (4 zero bytes, then the counter) never comes twice
under one key.

The sender moves on to the next epoch by itself; the receiver follows when a batch of the next epoch proves
to be authentic, and keeps the key before for stragglers, since batches take several paths.  All epochs come
from one TLS handshake: a new epoch bounds what one key encrypts, it does not protect the past from whoever
gets hold of the TLS secrets.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nconnect.errors import CryptoError, DecodeError, ReplayError, UsageError

from .replay import ReplayWindow

Exporter = Callable[[bytes, int], bytes]
"""(context, length) -> keying material; `ControlChannel.export`."""

TO_PROVIDER = b"to provider"
TO_USER = b"to user"

KEY_SIZE = 32
TAG_SIZE = 16
HEADER_SIZE = 9
OVERHEAD = HEADER_SIZE + TAG_SIZE
"""Bytes that a sealed batch is longer than the batch."""

REKEY_BATCHES = 1 << 30
"""A quarter of the 2^32 messages that NIST SP 800-38D (8.3) allows under one GCM key."""

REKEY_SECONDS = 600.0
"""At 2 Gbit/s some 150 GB, 2^33 AES blocks: below the 2^34.5 where RFC 8446 (5.5) changes the key."""

REPLAY_WINDOW = 1 << 16
"""Batches: one that was lost on its path is resent after NCP's longest time-out, 10 s; at 4,000 batches/s
40,000 others have overtaken it by then.  8 KiB of memory a key."""

_HEADER = struct.Struct("<BQ")
_NONCE = struct.Struct("<4xQ")
_EPOCH = struct.Struct("<Q")


def _epoch_key(exporter: Exporter, direction: bytes, epoch: int) -> AESGCM:
    return AESGCM(exporter(direction + _EPOCH.pack(epoch), KEY_SIZE))


class Sealer:
    """Encrypts the batches of one direction.  `direction` is TO_PROVIDER or TO_USER.

    `rekey_batches` and `rekey_seconds` say when the next epoch begins.
    """

    __slots__ = (
        "_aead",
        "_counter",
        "_direction",
        "_exporter",
        "_rekey_at",
        "_rekey_batches",
        "_rekey_seconds",
        "_scratch",
        "epoch",
    )

    def __init__(
        self,
        exporter: Exporter,
        direction: bytes,
        *,
        rekey_batches: int = REKEY_BATCHES,
        rekey_seconds: float = REKEY_SECONDS,
    ) -> None:
        if not 0 < rekey_batches <= REKEY_BATCHES or rekey_seconds <= 0:
            raise UsageError(f"a data key lasts 1 to {REKEY_BATCHES} batches, and more than 0 seconds")
        self._exporter = exporter
        self._direction = direction
        self._rekey_batches = rekey_batches
        self._rekey_seconds = rekey_seconds
        self._rekey_at: float | None = None
        self._scratch = memoryview(bytearray(0))
        self.epoch = 0
        self._aead = _epoch_key(exporter, direction, 0)
        self._counter = 0

    def seal(self, plaintext: bytes | bytearray | memoryview, now: float, prefix: bytes = b"") -> bytes:
        """`prefix` as it is, then the encrypted frame; `now` is monotonic seconds."""
        if self._rekey_at is None:
            self._rekey_at = now + self._rekey_seconds
        elif now >= self._rekey_at or self._counter >= self._rekey_batches:
            self.epoch += 1
            self._aead = _epoch_key(self._exporter, self._direction, self.epoch)
            self._counter = 0
            self._rekey_at = now + self._rekey_seconds
        counter = self._counter
        self._counter = counter + 1
        header = _HEADER.pack(self.epoch & 0xFF, counter)
        start = len(prefix) + HEADER_SIZE
        end = start + len(plaintext) + TAG_SIZE
        # Encrypting into a buffer that is there already and copying once is 10 times faster at 128 KiB than
        # joining header and ciphertext: two fresh blocks of that size mean fresh pages from the kernel.
        if len(self._scratch) < end:
            self._scratch = memoryview(bytearray(end))
        scratch = self._scratch
        scratch[:start] = prefix + header
        self._aead.encrypt_into(_NONCE.pack(counter), plaintext, header, scratch[start:end])
        return scratch[:end].tobytes()


class _Epoch:
    """A receiving key and the counters that have come under it."""

    __slots__ = ("aead", "key_id", "number", "window")

    def __init__(self, exporter: Exporter, direction: bytes, number: int) -> None:
        self.aead = _epoch_key(exporter, direction, number)
        self.key_id = number & 0xFF
        self.number = number
        self.window = ReplayWindow(REPLAY_WINDOW)


class Opener:
    """Decrypts the batches of one direction; accepts the current epoch, the one before and the next."""

    __slots__ = ("_current", "_direction", "_exporter", "_next", "_previous")

    def __init__(self, exporter: Exporter, direction: bytes) -> None:
        self._exporter = exporter
        self._direction = direction
        self._previous: _Epoch | None = None
        self._current = _Epoch(exporter, direction, 0)
        self._next: _Epoch | None = None

    @property
    def epoch(self) -> int:
        """The newest epoch that the sender has proved to use."""
        return self._current.number

    def open(self, frame: bytes | bytearray | memoryview) -> bytes:
        """The batch in `frame`.

        DecodeError: too short.  ReplayError: came before, or is too old to tell.  CryptoError: not from the
        peer, altered, or under a key that is long gone.  None of them changes the state of the opener.
        """
        view = memoryview(frame)
        if len(view) < OVERHEAD:
            raise DecodeError(f"data batch of {len(view)} bytes: the least is {OVERHEAD}")
        key_id, counter = _HEADER.unpack_from(view)
        epoch = self._current if key_id == self._current.key_id else self._find(key_id)
        if not epoch.window.check(counter):
            raise ReplayError(f"data batch {counter} of key {key_id} came before or is too old")
        try:
            batch = epoch.aead.decrypt(_NONCE.pack(counter), view[HEADER_SIZE:], view[:HEADER_SIZE])
        except InvalidTag:
            raise CryptoError(f"data batch {counter} of key {key_id} is not authentic") from None
        epoch.window.mark(counter)
        if epoch is self._next:
            self._previous, self._current, self._next = self._current, epoch, None
        return batch

    def _find(self, key_id: int) -> _Epoch:
        if self._previous is not None and key_id == self._previous.key_id:
            return self._previous
        number = self._current.number + 1
        if key_id != number & 0xFF:
            raise CryptoError(f"data batch under key {key_id}, which is neither in use nor next")
        if self._next is None:
            self._next = _Epoch(self._exporter, self._direction, number)
        return self._next
