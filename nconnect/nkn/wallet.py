"""Wallets: the file that keeps a seed under a password, and wallet addresses.

The JSON is that of the official SDKs and of nknd (``vault/data.go``): a random master key encrypts the seed,
and a key made from the password encrypts the master key; both by AES-256-CBC without padding (the texts have
whole blocks) and with the same IV. Version 1 makes the password's key by double SHA-256, version 2 by scrypt.
Nothing authenticates the texts: a wrong password shows in that the seed has another address than the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Any

import base58
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nconnect.errors import AddressError, DecodeError, UsageError
from nconnect.nkn.keys import SEED_SIZE, WALLET_PREFIX, KeyPair

VERSION = 2
"""What new wallets are written as."""

PROGRAM_HASH_SIZE = 20
CHECKSUM_SIZE = 4
IV_SIZE = 16
KEY_SIZE = 32

MAX_JSON = 16 * 1024
"""Characters: a wallet has some 400."""

MAX_ADDRESS = 64
"""Characters: an address has 36, and Base58 takes quadratic time."""

MAX_SCRYPT_MEMORY = 256 << 20
"""Bytes, 128·N·r: the SDKs ask for 32 MiB; a file that asks for much more would stall a small machine."""

MAX_SCRYPT_P = 16
"""Rounds of that, one after the other."""

MAX_SALT = 64
"""Bytes: the SDKs use 8."""


@dataclass(frozen=True, slots=True)
class ScryptParameters:
    """How much work it is to try a password: RFC 7914's N, r and p, and a salt of its own for each file."""

    salt: bytes = field(default_factory=lambda: os.urandom(8))
    n: int = 1 << 15
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if self.n < 2 or self.n & (self.n - 1):
            raise UsageError("scrypt's N is not a power of two")
        if self.r < 1 or 128 * self.n * self.r > MAX_SCRYPT_MEMORY or not 1 <= self.p <= MAX_SCRYPT_P:
            raise UsageError(
                f"its scrypt asks for too much: the most is {MAX_SCRYPT_MEMORY >> 20} MiB (128·N·r) "
                f"and p={MAX_SCRYPT_P}"
            )
        if not 1 <= len(self.salt) <= MAX_SALT:
            raise UsageError(f"scrypt's salt has 1 to {MAX_SALT} bytes, not {len(self.salt)}")


class Wallet:
    """A key pair as the owner of tokens and names."""

    __slots__ = ("key",)

    def __init__(self, key: KeyPair) -> None:
        self.key: KeyPair = key

    @classmethod
    def create(cls) -> Wallet:
        """A wallet with a new seed."""
        return cls(KeyPair.generate())

    @property
    def address(self) -> str:
        """The wallet address, ``NKN…``."""
        return self.key.wallet_address

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def to_json(
        self,
        password: str,
        *,
        version: int = VERSION,
        scrypt: ScryptParameters | None = None,
        iv: bytes | None = None,
        master_key: bytes | None = None,
    ) -> str:
        """The wallet file that `password` opens.

        `scrypt` (version 2), `iv` (16 bytes) and `master_key` (32 bytes) are random unless given: give them
        only to make the same file again.
        """
        iv = os.urandom(IV_SIZE) if iv is None else iv
        master_key = os.urandom(KEY_SIZE) if master_key is None else master_key
        if len(iv) != IV_SIZE or len(master_key) != KEY_SIZE:
            raise UsageError(f"a wallet has an IV of {IV_SIZE} bytes and a master key of {KEY_SIZE}")
        if version == 2 and scrypt is None:
            scrypt = ScryptParameters()
        password_key = _password_key(password, version, scrypt)
        document: dict[str, Any] = {
            "Version": version,
            "MasterKey": _encrypt(master_key, password_key, iv).hex(),
            "IV": iv.hex(),
            "SeedEncrypted": _encrypt(self.key.seed, master_key, iv).hex(),
            "Address": self.address,
        }
        if version == 2 and scrypt is not None:
            document["Scrypt"] = {"Salt": scrypt.salt.hex(), "N": scrypt.n, "R": scrypt.r, "P": scrypt.p}
        return json.dumps(document)

    @classmethod
    def from_json(cls, text: str, password: str) -> Wallet:
        """Open a wallet file; DecodeError when it is none, UsageError when the password is wrong."""
        fields = _load(text)
        iv = fields.hex("iv", IV_SIZE)
        encrypted_master_key = fields.hex("masterkey", KEY_SIZE)
        encrypted_seed = fields.hex("seedencrypted", SEED_SIZE)
        address = fields.text("address")
        version = fields.integer("version")
        if version not in (1, 2):
            raise DecodeError("the wallet is of a version that is not known: there are 1 and 2")
        password_key = _password_key(password, version, fields.scrypt() if version == 2 else None)
        master_key = _decrypt(encrypted_master_key, password_key, iv)
        wallet = cls(KeyPair(_decrypt(encrypted_seed, master_key, iv)))
        if wallet.address != address:
            raise UsageError(f"wrong password for wallet {address[:MAX_ADDRESS]!r}, or the file is damaged")
        return wallet


class _Fields:
    """A JSON object of which nothing is believed; names in any case, as the SDKs take them."""

    def __init__(self, document: object) -> None:
        if not isinstance(document, dict):
            raise DecodeError("no wallet: a JSON object is missing")
        self._fields: dict[str, object] = {name.lower(): value for name, value in document.items()}

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise DecodeError(f"the wallet has no text {name!r}")
        return value

    def hex(self, name: str, size: int | None = None) -> bytes:
        try:
            value = bytes.fromhex(self.text(name))
        except ValueError:
            raise DecodeError(f"the wallet's {name!r} is not hexadecimal") from None
        if size is not None and len(value) != size:
            raise DecodeError(f"the wallet's {name!r} has {len(value)} bytes, not {size}")
        return value

    def integer(self, name: str) -> int:
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DecodeError(f"the wallet has no number {name!r}")
        return value

    def scrypt(self) -> ScryptParameters:
        inner = _Fields(self._fields.get("scrypt"))
        salt, n, r, p = inner.hex("salt"), inner.integer("n"), inner.integer("r"), inner.integer("p")
        try:
            return ScryptParameters(salt, n, r, p)
        except UsageError as error:
            raise DecodeError(f"the wallet cannot be opened: {error}") from None


def _load(text: str) -> _Fields:
    if len(text) > MAX_JSON:
        raise DecodeError(f"no wallet: {len(text)} characters, the most is {MAX_JSON}")
    try:
        return _Fields(json.loads(text))
    except (ValueError, RecursionError):
        raise DecodeError("no wallet: the file is not JSON") from None


def parse_wallet_address(address: str) -> bytes:
    """The 20-byte program hash in a wallet address; AddressError says what is wrong with another text."""
    try:
        if len(address) > MAX_ADDRESS:
            raise ValueError
        data = base58.b58decode(address)
    except ValueError:
        raise AddressError(f"{address[:MAX_ADDRESS]!r} is not a wallet address: not Base58") from None
    body, checksum = data[:-CHECKSUM_SIZE], data[-CHECKSUM_SIZE:]
    if not body.startswith(WALLET_PREFIX) or len(body) != len(WALLET_PREFIX) + PROGRAM_HASH_SIZE:
        raise AddressError(f"{address!r} is not a wallet address: one has 36 characters and begins with NKN")
    if hashlib.sha256(hashlib.sha256(body).digest()).digest()[:CHECKSUM_SIZE] != checksum:
        raise AddressError(
            f"{address!r} is not a wallet address: its checksum is wrong, look for a typing error"
        )
    return body[len(WALLET_PREFIX) :]


def is_wallet_address(address: str) -> bool:
    """True for a text that `parse_wallet_address` takes."""
    try:
        parse_wallet_address(address)
    except AddressError:
        return False
    return True


def _password_key(password: str, version: int, scrypt: ScryptParameters | None) -> bytes:
    # What a terminal hands over need not be valid UTF-8; its bytes are the password then.
    try:
        secret = password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError("the password holds half a character") from None
    if version == 1:
        return hashlib.sha256(hashlib.sha256(secret).digest()).digest()
    if version == 2 and scrypt is not None:
        return Scrypt(salt=scrypt.salt, length=KEY_SIZE, n=scrypt.n, r=scrypt.r, p=scrypt.p).derive(secret)
    raise UsageError(f"a wallet of version {version} is not known: there are 1 and 2")


def _encrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def _decrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    return decryptor.update(data) + decryptor.finalize()
