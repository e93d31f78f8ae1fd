"""A wallet file, and a wallet address."""

from __future__ import annotations

import contextlib
import hashlib
import json
from unittest import mock

from nconnect.errors import AddressError, DecodeError, UsageError
from nconnect.nkn import wallet
from nconnect.nkn.wallet import ScryptParameters, Wallet, parse_wallet_address

from .vectors import ALICE, vectors

# A wrong password is a UsageError.
ERRORS = (DecodeError, UsageError)
PASSWORD = "password"


class QuickScrypt:
    """In place of scrypt, whose bounds are `ScryptParameters`' and whose slowness is the point of it."""

    def __init__(self, salt: bytes, length: int, n: int, r: int, p: int) -> None:
        assert 128 * n * r * p <= wallet.MAX_SCRYPT_MEMORY * wallet.MAX_SCRYPT_P
        self._length = length

    def derive(self, secret: bytes) -> bytes:
        return hashlib.shake_256(secret).digest(self._length)


def seeds() -> list[bytes]:
    files = [json.dumps(vector["json"]) for vector in vectors("nkn/wallet_vectors.json")["wallets"]]
    scrypt = ScryptParameters(salt=b"salt")
    with mock.patch.object(wallet, "Scrypt", QuickScrypt):
        files += [
            Wallet(ALICE).to_json(
                PASSWORD, version=version, scrypt=scrypt, iv=bytes(16), master_key=bytes(32)
            )
            for version in (1, 2)
        ]
    return [*(text.encode() for text in files), ALICE.wallet_address.encode()]


def run(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    with contextlib.suppress(AddressError):
        assert len(parse_wallet_address(text)) == 20
    with mock.patch.object(wallet, "Scrypt", QuickScrypt):
        opened = Wallet.from_json(text, PASSWORD)
    assert opened.address == ALICE.wallet_address, "a file that somebody else's key is in, by chance"
