"""Keys of NKN clients: an Ed25519 key pair made from a 32-byte seed, and what NKN derives from it.

Source: nkn-sdk-go ``account.go``, nknd ``crypto``.
"""

from __future__ import annotations

import hashlib

import base58
from nacl import bindings
from nacl.exceptions import CryptoError as SodiumError

from nconnect.errors import AddressError, CryptoError

SEED_SIZE = 32
SIGNATURE_SIZE = 64

# Shared keys kept per key pair: a gateway talks to some hundreds of peers, and one costs 64 bytes and 60 µs
# to remake.
MAX_SHARED_KEYS = 4096

# nknd common/programhash.go: the prefix that makes every wallet address begin with "NKN".
WALLET_PREFIX = bytes.fromhex("02b825")


class KeyPair:
    """An Ed25519 key pair with what NKN derives from it. The seed never appears in ``repr``."""

    __slots__ = ("_curve_key", "_secret_key", "_shared_keys", "public_key", "seed")

    seed: bytes
    public_key: bytes

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise AddressError(f"a seed has {SEED_SIZE} bytes, not {len(seed)}")
        self.seed = bytes(seed)
        self.public_key, self._secret_key = bindings.crypto_sign_seed_keypair(self.seed)
        self._curve_key = bindings.crypto_sign_ed25519_sk_to_curve25519(self._secret_key)
        self._shared_keys: dict[bytes, bytes] = {}

    @classmethod
    def from_seed(cls, seed: bytes) -> KeyPair:
        """The key pair of a 32-byte seed; AddressError if it has another length."""
        return cls(seed)

    @classmethod
    def generate(cls) -> KeyPair:
        """A new key pair from the system's random source."""
        return cls(bindings.randombytes(SEED_SIZE))

    def __repr__(self) -> str:
        return f"KeyPair({self.public_key.hex()})"

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``data``."""
        # libsodium: 14 µs a signature of 32 bytes; OpenSSL through cryptography: 21 µs.
        return bindings.crypto_sign(data, self._secret_key)[:SIGNATURE_SIZE]

    def shared_key(self, peer_public_key: bytes) -> bytes:
        """The 32-byte key of ``crypto_box`` between this key pair and a peer's Ed25519 public key.

        CryptoError if the peer's key is not a point of the curve that may be used.
        """
        shared = self._shared_keys.get(peer_public_key)
        if shared is None:
            try:
                peer_curve_key = bindings.crypto_sign_ed25519_pk_to_curve25519(peer_public_key)
                shared = bindings.crypto_box_beforenm(peer_curve_key, self._curve_key)
            except (SodiumError, ValueError, TypeError) as error:
                raise CryptoError(f"{peer_public_key.hex()} is not a usable Ed25519 public key") from error
            if len(self._shared_keys) >= MAX_SHARED_KEYS:
                del self._shared_keys[next(iter(self._shared_keys))]
            self._shared_keys[bytes(peer_public_key)] = shared
        return shared

    @property
    def wallet_address(self) -> str:
        """The address that holds this key's NKN tokens (``NKN…``)."""
        return wallet_address(self.public_key)


def verify(public_key: bytes, data: bytes, signature: bytes) -> None:
    """Return if ``signature`` is ``public_key``'s over ``data``; raise CryptoError otherwise."""
    try:
        bindings.crypto_sign_open(signature + data, public_key)
    except (SodiumError, ValueError, TypeError) as error:
        raise CryptoError(f"the signature is not {public_key.hex()}'s") from error


def program_hash(public_key: bytes) -> bytes:
    """RIPEMD-160 of SHA-256 of the program that checks a signature of ``public_key``; 20 bytes."""
    # Imported here, because only wallets need it, and a command that looks at a key shall not wait for it.
    from Crypto.Hash import RIPEMD160

    # pycryptodome, because many builds of OpenSSL 3 come without RIPEMD-160.
    program = b"\x20" + public_key + b"\xac"
    return RIPEMD160.new(hashlib.sha256(program).digest()).digest()


def wallet_address(public_key: bytes) -> str:
    """The wallet address (Base58, ``NKN…``) of a public key."""
    body = WALLET_PREFIX + program_hash(public_key)
    checksum = hashlib.sha256(hashlib.sha256(body).digest()).digest()[:4]
    return base58.b58encode(body + checksum).decode()
