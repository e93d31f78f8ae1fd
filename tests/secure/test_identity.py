from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import CryptoError, UsageError
from nconnect.secure.identity import Identity, public_key_of

# RFC 8032, 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC_KEY = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def test_the_key_is_that_of_the_seed() -> None:
    identity = Identity(SEED)
    assert identity.public_key == PUBLIC_KEY
    assert public_key_of(identity.certificate) == public_key_of(identity.certificate_der) == PUBLIC_KEY


def test_the_certificate_names_the_key_and_is_always_the_same() -> None:
    certificate = Identity(SEED).certificate
    assert certificate.subject == certificate.issuer
    assert certificate.subject.rfc4514_string() == f"CN={PUBLIC_KEY.hex()}"
    assert Identity(SEED).certificate_der == Identity(SEED).certificate_der
    certificate.verify_directly_issued_by(certificate)


def test_a_clock_at_1970_is_within_the_validity() -> None:
    certificate = Identity(SEED).certificate
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert certificate.not_valid_before_utc < epoch
    assert certificate.not_valid_after_utc.year == 9999


def test_the_seed_is_not_printed() -> None:
    assert SEED.hex() not in repr(Identity(SEED)) and PUBLIC_KEY.hex() in repr(Identity(SEED))


def test_a_seed_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match="32 bytes, not 31"):
        Identity(SEED[:31])


def test_other_kinds_of_keys_are_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2040, 1, 1))
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(CryptoError, match="no Ed25519 key"):
        public_key_of(certificate.public_bytes(Encoding.DER))


@given(st.binary(max_size=400), st.integers(0, 300))
def test_random_certificates_raise_crypto_errors_only(data: bytes, at: int) -> None:
    der = bytearray(Identity(SEED).certificate_der)
    der[at : at + len(data)] = data
    for certificate in (data, bytes(der)):
        try:
            assert len(public_key_of(certificate)) == 32
        except CryptoError as error:
            assert "certificate" in str(error)
