from __future__ import annotations

import ssl

from cryptography import x509

from nconnect.devnet.certificate import make_certificate


def test_it_names_hosts_and_addresses_and_each_is_new() -> None:
    first, second = make_certificate(["localhost", "10.0.0.1", "::1"]), make_certificate(["localhost"])
    assert first.private_key != second.private_key
    names = (
        x509.load_pem_x509_certificate(first.certificate.encode())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]


def test_who_trusts_it_accepts_the_server_and_who_does_not_refuses() -> None:
    made = make_certificate(["10.0.0.1"])
    handshake(made.server_context(), ssl.create_default_context(cadata=made.certificate), "10.0.0.1")
    for context, host, words in (
        (ssl.create_default_context(), "10.0.0.1", "self-signed"),
        (ssl.create_default_context(cadata=made.certificate), "10.0.0.2", "IP address mismatch"),
    ):
        try:
            handshake(made.server_context(), context, host)
        except ssl.SSLCertVerificationError as error:
            assert words in str(error)
        else:
            raise AssertionError(f"{host} was trusted")


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext, host: str) -> None:
    """Let two ends of TLS talk through memory until both are satisfied."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(up, down, server_side=True)
    client = client_context.wrap_bio(down, up, server_hostname=host)
    waiting = [client, server]
    while waiting:
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
