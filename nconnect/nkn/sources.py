"""Who sent an inbound message: its source address, taken apart once and remembered."""

from __future__ import annotations

from typing import NamedTuple

from nconnect.errors import DecodeError
from nconnect.nkn.addresses import split_sub_client
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import public_key_of

# Addresses that are kept in parsed form; about 500 bytes each, or three times their length.
MAX_SOURCES = 4096
# Nodes set no limit. Whoever needs an identifier this long wants us to remember it.
MAX_SOURCE_SIZE = 1024


class Source(NamedTuple):
    """The sender of a message: ``remote_id`` (``__1__``, or empty) of the client ``address``."""

    remote_id: str
    address: str
    public_key: bytes
    shared_key: bytes


class Sources:
    """Takes source addresses apart."""

    def __init__(self, key: KeyPair) -> None:
        self._key = key
        self._known: dict[str, Source] = {}

    def get(self, src: str) -> Source:
        """The parts of a source address; DecodeError or CryptoError if it is none."""
        source = self._known.get(src)
        if source is None:
            if len(src) > MAX_SOURCE_SIZE:
                raise DecodeError(f"a message's source has {len(src)} characters")
            public_key = public_key_of(src)
            address = split_sub_client(src)[1]
            remote_id = src[: len(src) - len(address) - 1] if len(address) < len(src) else ""
            source = Source(remote_id, address, public_key, self._key.shared_key(public_key))
            if len(self._known) >= MAX_SOURCES:
                self._known.clear()
            self._known[src] = source
        return source
