"""A certificate for the nodes' TLS, made anew for each devnet and signed by itself.

Who is to trust it is given its PEM text: ``ssl.create_default_context(cadata=…)``, or Node.js'
``NODE_EXTRA_CA_CERTS``.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Longer than anybody leaves a devnet running; the day before covers clocks that differ.
VALID_DAYS = 365


class Certificate(NamedTuple):
    """Both in PEM."""

    certificate: str
    private_key: str

    def server_context(self) -> ssl.SSLContext:
        """What a server needs to answer with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # OpenSSL through Python takes a key from a file only.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "devnet.pem")
            path.touch(mode=0o600)
            path.write_text(self.private_key + self.certificate)
            context.load_cert_chain(path)
        return context


def make_certificate(hosts: Iterable[str]) -> Certificate:
    """A new key, and a certificate for host names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nconnect devnet")])
    now = datetime.datetime.now(datetime.UTC)
    public_key = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        # An authority that signed only itself: some libraries take nothing else as a root to trust.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
        .add_extension(_usage(), critical=True)
        .sign(key, hashes.SHA256())
    )
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        private_key.decode(),
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
