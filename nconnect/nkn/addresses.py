"""Addresses of NKN clients.

A client's address is its Ed25519 public key in lower-case hex, after an optional identifier and a dot:
``alice.8a88…6f5c``. SHA-256 of the address string is the client ID, which the network maps to the one node
that serves the client. Apart from the keys, so that who only reads an address does not wait for libsodium.
Source: nkn-sdk-go ``account.go``, nknd ``util/address``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from nconnect.errors import AddressError

PUBLIC_KEY_SIZE = 32

# Nine digits: no MultiClient has more sub-clients, and int() of a long string is slow or refused.
_SUB_CLIENT = re.compile(r"__([0-9]{1,9})__")


class Address(NamedTuple):
    """A client address:

    whose (``public_key``, 32 bytes), and which of theirs (``identifier``, may be empty).
    """

    identifier: str
    public_key: bytes

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse ``identifier.publickeyhex`` or ``publickeyhex``; AddressError says what is wrong.

        The identifier may itself hold dots: the public key is what follows the last one.
        """
        identifier, dot, key = text.rpartition(".")
        if dot and not identifier:
            raise AddressError(f"{text!r} is not an NKN address: the identifier before the dot is empty")
        if any(character.isspace() or not character.isprintable() for character in identifier):
            raise AddressError(f"{text!r} is not an NKN address: the identifier holds white space")
        return cls(identifier, parse_public_key(key, text))

    def __str__(self) -> str:
        key = self.public_key.hex()
        return f"{self.identifier}.{key}" if self.identifier else key


def parse_public_key(key: str, whole: str | None = None) -> bytes:
    """32 bytes from 64 hex digits; AddressError names ``whole``, the text that the user gave."""
    whole = key if whole is None else whole
    if len(key) != 2 * PUBLIC_KEY_SIZE:
        raise AddressError(
            f"{whole!r} is not an NKN address: "
            f"the public key has {len(key)} characters, not {2 * PUBLIC_KEY_SIZE}"
        )
    if not re.fullmatch("[0-9a-fA-F]*", key):
        raise AddressError(f"{whole!r} is not an NKN address: the public key is not hexadecimal")
    return bytes.fromhex(key)


def client_id(address: str | Address) -> bytes:
    """SHA-256 of the address string: the client's place on the network's ring, 32 bytes."""
    import hashlib  # here: it loads OpenSSL, for which who only reads an address need not wait either

    return hashlib.sha256(str(address).encode()).digest()


def sub_client_address(address: str, index: int) -> str:
    """The address of sub-client ``index`` of a MultiClient.

    A negative index is the original client itself.
    """
    return f"__{index}__.{address}" if index >= 0 else address


def split_sub_client(address: str) -> tuple[int | None, str]:
    """``__1__.base`` → ``(1, "base")``; an address without such a prefix → ``(None, address)``."""
    prefix, dot, base = address.partition(".")
    if dot and (match := _SUB_CLIENT.fullmatch(prefix)):
        return int(match[1]), base
    return None, address
