"""What a kill switch closes before there is a connection: what was routed to the provider in earlier runs.

It is on disk, since a reboot takes the routes along and an ordered end removes the journal. Whose networks
they are is written down with them: those of another provider are nobody's to close.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path

import msgspec

from nconnect.errors import ConfigError, HostError
from nconnect.tunnel.control import IPNetwork
from nconnect.tunnel.leases import write_atomically

MAX_BYTES = 1 << 20
"""Of the file: a provider offers some hundred prefixes at most, of some 20 bytes each."""


class _File(msgspec.Struct, frozen=True):
    provider: str
    """Its public key in hex."""
    prefixes: list[str]


class KillSwitch:
    """The prefixes of one provider, remembered at `path`.

    Raises:
        ConfigError: the file is none of ours; HostError: it cannot be read.
    """

    def __init__(self, path: Path, provider: bytes, say: Callable[[str], None]) -> None:
        self._path = path
        self._provider = provider.hex()
        self._say = say
        self._failing = ""
        self.prefixes = self._load()
        """What to close until the provider says what it offers now."""

    def _load(self) -> tuple[IPNetwork, ...]:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise ConfigError(f"{self._path} is too large to be ours; move it away")
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            prefixes = tuple(map(ip_network, file.prefixes))
        except FileNotFoundError:
            return ()
        except (msgspec.MsgspecError, ValueError) as error:
            raise ConfigError(
                f"{self._path} does not say what the kill switch closes ({error}); move it away"
            ) from error
        except OSError as error:
            raise HostError(f"cannot read {self._path}: {error.strerror}") from error
        return prefixes if file.provider == self._provider else ()

    def remember(self, prefixes: Iterable[IPNetwork]) -> None:
        """Have the next start close these; what cannot be written now ends no link that works."""
        wanted = tuple(dict.fromkeys(prefixes))
        if wanted == self.prefixes:
            return
        file = _File(self._provider, list(map(str, wanted)))
        try:
            write_atomically(self._path, msgspec.json.encode(file))
            self.prefixes, self._failing = wanted, ""
        except HostError as error:
            if str(error) != self._failing:
                self._failing = str(error)
                self._say(f"warning: the next start closes what it did before: {error}")
