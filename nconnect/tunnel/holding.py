"""How long a user's lease is held: when each was heard of last, on disk.

What is held stays as it is although the user is not there: the address, the connections as the kernel
translates them, the grant. The clock is one that goes on while the machine sleeps and that nobody sets
(CLOCK_BOOTTIME); another boot of the machine knows nothing of the connections of the last one, so its leases
are over by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from nconnect.errors import ConfigError, HostError
from nconnect.host.journal import boot_id
from nconnect.tunnel.leases import MAX_LEASE_FILE_BYTES, write_atomically

DEFAULT_SECONDS = 600.0
"""A laptop that is carried to the next room, a router that starts again, a generation of ten minutes."""
SAVE_INTERVAL = 60.0
"""Seconds between writes while users are connected. A crash forgets so much, and the leases are held so much
longer."""


def boot_clock() -> float:
    """Seconds since the machine was started, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _File(msgspec.Struct, frozen=True):
    boot: str
    heard: dict[str, float]
    """Key in hex → seconds since that boot."""


class Holding:
    """Keys of users, and when each was heard of last.

    Raises:
        ConfigError: the file is none of ours; HostError: it cannot be read.
    """

    def __init__(self, path: Path, seconds: float, clock: Callable[[], float] = boot_clock) -> None:
        """`seconds`: for how long a lease is held."""
        self._path = path
        self._seconds = seconds
        self._clock = clock
        self._heard = self._load()
        self._saved_at = clock()
        self._news = False

    def __contains__(self, key: bytes) -> bool:
        return key in self._heard

    def __iter__(self) -> Iterator[tuple[bytes, float]]:
        """Each key, and the seconds that are left to it."""
        now = self._clock()
        return iter([(key, max(heard + self._seconds - now, 0.0)) for key, heard in self._heard.items()])

    def _load(self) -> dict[bytes, float]:
        try:
            if self._path.stat().st_size > MAX_LEASE_FILE_BYTES:
                raise ConfigError(f"{self._path} is too large to be ours; move it away")
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            heard = {bytes.fromhex(key): when for key, when in file.heard.items()}
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(
                f"{self._path} does not say which leases are held ({error}); move it away"
            ) from error
        except OSError as error:
            raise HostError(f"cannot read {self._path}: {error.strerror}") from error
        if file.boot != boot_id():
            return {}
        now = self._clock()
        # Who was connected may have been heard until the next write was due.
        return {key: min(when + SAVE_INTERVAL, now) for key, when in heard.items()}

    def heard(self, key: bytes, ago: float = 0.0) -> None:
        """The user was heard `ago` seconds ago; the lease is held from then on."""
        self._news |= key not in self._heard
        self._heard[key] = max(self._clock() - ago, self._heard.get(key, 0.0))

    def release(self, key: bytes) -> None:
        """The lease is over, and all that had to be done about it is done."""
        self._news |= self._heard.pop(key, None) is not None

    def over(self) -> list[bytes]:
        """Whose time is over."""
        now = self._clock()
        return [key for key, heard in self._heard.items() if now - heard >= self._seconds]

    @property
    def unsaved(self) -> bool:
        """Whether it is time to `save`: at once when somebody came or went for good, else once in a while."""
        return self._news or (bool(self._heard) and self._clock() - self._saved_at >= SAVE_INTERVAL)

    def save(self) -> None:
        """Write it.

        Raises:
            HostError: it cannot be written; what stood there stands.
        """
        self._news, self._saved_at = False, self._clock()
        heard = {key.hex(): round(when, 3) for key, when in self._heard.items()}
        write_atomically(self._path, msgspec.json.encode(_File(boot_id(), heard)))
