"""The NKN identity as TLS knows it: a self-signed Ed25519 certificate.

Nobody but the key itself vouches for it; the peer compares the key with the one in the NKN address.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from nconnect.errors import CryptoError, UsageError

SEED_SIZE = 32
PUBLIC_KEY_SIZE = 32

# A small machine without a battery boots in 1970: the certificate is valid from the first date that X.509
# can say to the last one, which RFC 5280 (4.1.2.5) reserves for "no end".
_NOT_BEFORE = datetime.datetime(1950, 1, 1)
_NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59)
# One certificate a key, always the same: there is no issuer who would need to tell several apart.
_SERIAL = 1


class Identity:
    """An Ed25519 key made from the 32-byte NKN seed, and its certificate (same seed, same certificate).

    `public_key` is the raw 32 bytes that an NKN address shows in hex; the certificate's subject and issuer
    are that hex text.
    """

    __slots__ = ("certificate", "private_key", "public_key")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise UsageError(f"an identity is made from a seed of {SEED_SIZE} bytes, not {len(seed)}")
        self.private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self.private_key.public_key().public_bytes_raw()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.public_key.hex())])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private_key.public_key())
            .serial_number(_SERIAL)
            .not_valid_before(_NOT_BEFORE)
            .not_valid_after(_NOT_AFTER)
            .sign(self.private_key, algorithm=None)
        )

    def __repr__(self) -> str:
        return f"Identity({self.public_key.hex()})"

    @property
    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def public_key_of(certificate: bytes | x509.Certificate) -> bytes:
    """The 32-byte Ed25519 key of a certificate (DER or parsed); CryptoError when it holds another kind."""
    try:
        if isinstance(certificate, bytes):
            certificate = x509.load_der_x509_certificate(certificate)
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise CryptoError("the peer's certificate cannot be read") from None
    if not isinstance(key, Ed25519PublicKey):
        raise CryptoError("the peer's certificate holds no Ed25519 key: it is not an NKN identity")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
