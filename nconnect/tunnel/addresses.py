"""Addresses of seeds and relays by their names, on disk: the next start may find no resolver.

A kill switch has closed the prefix that it is in, or that a resolver on this machine asks another one in; or
the machine was switched on before its router was.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from pathlib import Path

import msgspec

from nconnect.errors import HostError
from nconnect.nkn.lookup import LOOKUP
from nconnect.tunnel.leases import write_atomically

logger = logging.getLogger(__name__)


class KeptAddresses:
    """What this process's lookups found, in a file (JSON, 0600): name to addresses."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: dict[str, list[str]] = {}

    def recall(self) -> None:
        """Have lookups fall back on what the file says; one that says nothing of use is no matter."""
        try:
            saved = msgspec.json.decode(self._path.read_bytes(), type=dict[str, list[str]])
            LOOKUP.recall({name: [ip_address(text) for text in texts] for name, texts in saved.items()})
        except FileNotFoundError:
            return
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            logger.warning("%s is left aside: %s", self._path, error)
            return
        self._saved = saved

    def save(self) -> None:
        """Write what is known now, if that is another thing than before."""
        known = {name: [str(one) for one in addresses] for name, addresses in LOOKUP.known().items()}
        if known == self._saved:
            return
        try:
            write_atomically(self._path, msgspec.json.encode(known))
        except HostError as error:
            logger.warning("%s", error)
            return
        self._saved = known
