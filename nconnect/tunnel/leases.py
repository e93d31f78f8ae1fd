"""Leases: each user's overlay addresses, stable because they are kept with the user's key.

The n-th address of the IPv4 pool and of the IPv6 pool belong together; number 0 is the network's own,
number 1 is the gateway. Leases are on disk (JSON, 0600): a restart of the provider changes no address.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path

import msgspec

from nconnect.errors import ConfigError, HostError, RefusedError
from nconnect.host.firewall import FORBIDDEN_NETWORKS
from nconnect.tunnel.control import RefusalCode

SHARED_ADDRESS_SPACE = IPv4Network("100.64.0.0/10")
"""RFC 6598: meant for carriers' NAT, so neither the public Internet nor home networks use it."""
POOL4_PREFIX_LENGTH = 20
"""A slice for 4,093 users; 1,024 slices, so that two providers of one user rarely share one."""
POOL6_PREFIX_LENGTH = 64
GATEWAY_INDEX = 1
FIRST_USER_INDEX = 2
MAX_LEASE_FILE_BYTES = 16 << 20
"""A lease is some 90 bytes and a /12 of users has a million: more is not ours."""


@dataclass(frozen=True)
class Pool:
    """The overlay prefixes of one provider."""

    v4: IPv4Network
    v6: IPv6Network

    def __post_init__(self) -> None:
        if self.v4.num_addresses < 4 or self.v6.num_addresses < 4:
            raise ConfigError(f"the pool {self.v4}, {self.v6} has no room for a user; use /29 or larger")

    @classmethod
    def of(cls, public_key: bytes, v4: str = "", v6: str = "") -> Pool:
        """The configured prefixes, or those that the provider's key chooses.

        The IPv6 prefix is `fd` and 40 bits of a hash, as RFC 4193, 3.2.2 asks for a random one.
        """
        digest = hashlib.sha256(b"nconnect pool" + public_key).digest()
        slice_bits = POOL4_PREFIX_LENGTH - SHARED_ADDRESS_SPACE.prefixlen
        number = int.from_bytes(digest[:4], "big") >> (32 - slice_bits)
        base4 = int(SHARED_ADDRESS_SPACE.network_address) + (number << (32 - POOL4_PREFIX_LENGTH))
        base6 = bytes([0xFD]) + digest[4:9] + bytes(10)
        try:
            return cls(
                IPv4Network(v4) if v4 else IPv4Network((base4, POOL4_PREFIX_LENGTH)),
                IPv6Network(v6) if v6 else IPv6Network((base6, POOL6_PREFIX_LENGTH)),
            )
        except ValueError as error:
            raise ConfigError(f"wrong pool: {error}") from error

    @property
    def gateway(self) -> tuple[IPv4Address, IPv6Address]:
        """The provider's own overlay addresses."""
        return self.addresses(GATEWAY_INDEX)

    @property
    def gateway_interfaces(self) -> tuple[IPv4Interface, IPv6Interface]:
        """The same, with the length of their pool."""
        v4, v6 = self.gateway
        return IPv4Interface((v4, self.v4.prefixlen)), IPv6Interface((v6, self.v6.prefixlen))

    @property
    def last_index(self) -> int:
        """The highest user number: the address before the IPv4 broadcast address."""
        return min(self.v4.num_addresses - 2, self.v6.num_addresses - 1)

    @property
    def forbidden(self) -> frozenset[int]:
        """Numbers that no user gets: no host may have such an address, as that of a metadata service."""
        return frozenset(
            int(one.network_address) - int(pool.network_address)
            for pool in (self.v4, self.v6)
            for one in FORBIDDEN_NETWORKS
            if one.num_addresses == 1 and one.network_address in pool
        )

    def addresses(self, index: int) -> tuple[IPv4Address, IPv6Address]:
        """The pair of addresses with number `index`."""
        return self.v4[index], self.v6[index]


class Leases:
    """Key → number in the pool, on disk.

    Raises:
        ConfigError: the file is not a lease file; HostError: it cannot be read or written.
    """

    def __init__(self, path: Path, pool: Pool) -> None:
        self._path = path
        self.pool = pool
        self._numbers = self._load()
        self._taken = {*self._numbers.values(), *pool.forbidden}
        self._next = FIRST_USER_INDEX

    def _load(self) -> dict[str, int]:
        try:
            if self._path.stat().st_size > MAX_LEASE_FILE_BYTES:
                raise ConfigError(f"{self._path} is too large to be a lease file; move it away")
            numbers = msgspec.json.decode(self._path.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise ConfigError(
                f"{self._path} is not a lease file ({error}); move it away to start afresh"
            ) from error
        except OSError as error:
            raise HostError(f"cannot read {self._path}: {error.strerror}") from error
        if len(set(numbers.values())) != len(numbers):
            raise ConfigError(f"{self._path} gives one address to two keys; remove one of their lines")
        # A smaller pool than last time: those beyond its end get a new number when they come.
        usable = {*range(FIRST_USER_INDEX, self.pool.last_index + 1)} - self.pool.forbidden
        return {key: number for key, number in numbers.items() if number in usable}

    def find(self, public_key: bytes) -> tuple[IPv4Address, IPv6Address] | None:
        """The addresses of this key; None if it has none."""
        number = self._numbers.get(public_key.hex())
        return None if number is None else self.pool.addresses(number)

    def lease(
        self, public_key: bytes, held: Callable[[bytes], bool] = lambda key: True
    ) -> tuple[IPv4Address, IPv6Address]:
        """The addresses of this key, always the same as long as there is room.

        In a full pool it takes over those of the oldest key that is not `held` any more.

        Raises:
            RefusedError: the pool has no address left.
            HostError: a new lease cannot be written; it is not given then.
        """
        key = public_key.hex()
        number = self._numbers.get(key)
        if number is None:
            numbers = self._numbers.copy()
            number = self._free_number()
            if number is None:
                number = numbers.pop(self._oldest_not_held(held))
            numbers[key] = number
            self._save(numbers)
            self._numbers = numbers
            self._taken.add(number)
        return self.pool.addresses(number)

    def _free_number(self) -> int | None:
        while self._next in self._taken:
            self._next += 1
        return self._next if self._next <= self.pool.last_index else None

    def _oldest_not_held(self, held: Callable[[bytes], bool]) -> str:
        for key in self._numbers:
            if not held(bytes.fromhex(key)):
                return key
        raise RefusedError(RefusalCode.FULL, f"the provider's address pool {self.pool.v4} is full")

    def _save(self, numbers: dict[str, int]) -> None:
        write_atomically(self._path, msgspec.json.format(msgspec.json.encode(numbers)))


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Make `data` the file at `path` (0600) whole or not at all, also through a crash or a full disk.

    Without `replace` a file that is there stays.

    Raises:
        HostError: it could not be written; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(temporary)
            temporary.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HostError(f"cannot write {path}: {error.strerror}") from error
