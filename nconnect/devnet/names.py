"""Registered names: whose they are and until when. Upper and lower case are one (nknd ``store/name.go``)."""

from __future__ import annotations

from typing import NamedTuple

from nconnect.devnet.rejected import Rejected

# Blocks of 20 s in a year (nknd config.DefaultNameDuration).
NAME_DURATION = 365 * 24 * 60 * 60 // 20
# Some 300 bytes each.
MAX_NAMES = 16_384


class Name(NamedTuple):
    """A registration: the owner's public key, and the height of the block that ends it."""

    registrant: bytes
    expires_at: int


NOBODY = Name(b"", 0)


class Names:
    """All registrations. What `check_…` does not reject can be done."""

    __slots__ = ("_names",)

    def __init__(self) -> None:
        self._names: dict[str, Name] = {}

    def get(self, name: str) -> Name:
        """Whose a name is; `NOBODY`'s if it is free."""
        return self._names.get(name.lower(), NOBODY)

    def check_register(self, name: str, registrant: bytes) -> None:
        """Rejected if another has the name; the owner may register it again, and longer."""
        owner = self.get(name).registrant
        if owner and owner != registrant:
            raise Rejected(f"name {name} is already registered for pubKey {owner.hex()}")
        if not owner and len(self._names) >= MAX_NAMES:
            raise Rejected(f"this devnet keeps {MAX_NAMES} names: delete one")

    def register(self, name: str, registrant: bytes, height: int) -> None:
        """Register a name for a year from the block of ``height`` on."""
        self._names[name.lower()] = Name(registrant, height + NAME_DURATION)

    def check_transfer(self, name: str, registrant: bytes, recipient: bytes) -> None:
        """Rejected unless ``registrant`` has the name and ``recipient`` has not."""
        owner = self.get(name).registrant
        if not owner:
            raise Rejected("can not transfer unregistered name")
        if owner == recipient:
            raise Rejected("can not transfer names to its owner")
        if owner != registrant:
            raise Rejected("registrant incorrect")

    def transfer(self, name: str, recipient: bytes) -> None:
        """Give a name away; it ends when it would have."""
        self._names[name.lower()] = self.get(name)._replace(registrant=recipient)

    def check_delete(self, name: str, registrant: bytes) -> None:
        """Rejected unless ``registrant`` has the name."""
        owner = self.get(name).registrant
        if not owner:
            raise Rejected("name doesn't exist")
        if owner != registrant:
            raise Rejected("can not delete name which did not belongs to you")

    def delete(self, name: str) -> None:
        """Free a name."""
        del self._names[name.lower()]

    def expire(self, height: int) -> None:
        """Free the names that end with the block of ``height``."""
        for name in [name for name, entry in self._names.items() if entry.expires_at <= height]:
            del self._names[name]
