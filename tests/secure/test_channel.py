from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL, crypto

from nconnect.errors import ClosedError, CryptoError, DecodeError, ProtocolError, UsageError
from nconnect.secure import channel
from nconnect.secure.channel import ALPN, MAX_MESSAGE, ControlChannel
from nconnect.secure.identity import Identity

USER = Identity(b"\x01" * 32)
PROVIDER = Identity(b"\x02" * 32)
STRANGER = Identity(b"\x03" * 32)


def ends(
    *, user: Identity = USER, provider: Identity = PROVIDER, expected: Identity = PROVIDER
) -> tuple[ControlChannel, ControlChannel]:
    """(user's end, provider's end), started; the user expects the key of `expected`."""
    client = ControlChannel(user, server=False, peer_public_key=expected.public_key)
    server = ControlChannel(provider, server=True, peer_public_key=USER.public_key)
    client.start()
    server.start()
    return client, server


def exchange(client: ControlChannel, server: ControlChannel, piece: int = 1 << 20) -> list[bytes]:
    """Carry bytes both ways until there are none, `piece` bytes at a time; what the server received."""
    received: list[bytes] = []
    while True:
        up, down = client.data_to_send(), server.data_to_send()
        if not up and not down:
            return received
        for at in range(0, len(up), piece):
            received += server.receive(up[at : at + piece])
        for at in range(0, len(down), piece):
            client.receive(down[at : at + piece])


def established() -> tuple[ControlChannel, ControlChannel]:
    client, server = ends()
    exchange(client, server)
    return client, server


def test_handshake_is_tls_1_3_with_a_hybrid_group() -> None:
    client, server = ends()
    assert client.group == server.group == client.cipher == ""
    exchange(client, server)
    assert client.established and server.established
    assert client.group == server.group == "X25519MLKEM768"
    assert client.cipher == server.cipher == "TLS_AES_256_GCM_SHA384"


def test_messages_both_ways_in_order() -> None:
    client, server = established()
    messages = [b"hello", b"", os.urandom(MAX_MESSAGE), b"last"]
    for message in messages:
        client.send(message)
    assert exchange(client, server) == messages
    server.send(b"welcome")
    assert client.receive(server.data_to_send()) == [b"welcome"]


def test_bytes_may_come_one_by_one() -> None:
    client, server = ends()
    exchange(client, server, piece=1)
    client.send(b"hello")
    client.send(b"again")
    assert exchange(client, server, piece=1) == [b"hello", b"again"]


def test_a_message_right_behind_the_handshake() -> None:
    client, server = ends()
    server.receive(client.data_to_send())
    client.receive(server.data_to_send())
    assert client.established
    client.send(b"hello")
    assert server.receive(client.data_to_send()) == [b"hello"]


def test_the_wire_shows_nothing_of_a_message() -> None:
    client, _ = established()
    client.send(b"the secret token")
    assert b"secret" not in client.data_to_send()


def test_both_ends_export_the_same_keys_and_every_context_another() -> None:
    client, server = established()
    assert client.export(b"a", 32) == server.export(b"a", 32)
    assert len({client.export(context, 32) for context in (b"", b"a", b"b")}) == 3
    other, _ = established()
    assert client.export(b"a", 32) != other.export(b"a", 32)


def test_the_exporter_label_is_the_one_of_this_version() -> None:
    """Changing it would cut off every peer that was installed before."""
    client, server = established()
    key = client.export(b"ctx", 32)
    assert key == server._tls.export_keying_material(b"EXPORTER-nconnect-data-v1", 32, b"ctx")


def test_the_user_refuses_a_provider_with_another_key() -> None:
    client, server = ends(provider=STRANGER)
    server.receive(client.data_to_send())
    with pytest.raises(
        CryptoError, match=f"proved key {STRANGER.public_key.hex()}.*{PROVIDER.public_key.hex()}"
    ):
        client.receive(server.data_to_send())
    assert not client.established and client.failed is not None
    with pytest.raises(CryptoError, match="alert"):
        server.receive(client.data_to_send())
    assert not server.established


def test_the_provider_refuses_a_user_with_another_key() -> None:
    client, server = ends(user=STRANGER)
    server.receive(client.data_to_send())
    client.receive(server.data_to_send())
    with pytest.raises(CryptoError, match=f"proved key {STRANGER.public_key.hex()}"):
        server.receive(client.data_to_send())
    assert not server.established
    with pytest.raises(CryptoError, match="alert"):
        client.receive(server.data_to_send())


def test_a_man_in_the_middle_with_the_right_name_and_the_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look, after the handshake, does not depend on the callback."""
    monkeypatch.setattr(ControlChannel, "_verify", lambda *_: True)
    client, server = ends(provider=STRANGER)
    server.receive(client.data_to_send())
    with pytest.raises(CryptoError, match="proved key"):
        client.receive(server.data_to_send())
    assert not client.established


def foreign_client(
    identity: Identity | None,
    alpn: bytes = ALPN,
    version: int = SSL.TLS1_3_VERSION,
    certificate: Path | None = None,
) -> SSL.Connection:
    """A TLS client that is not ours."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    if identity is not None:
        if certificate is None:
            context.use_certificate(identity.certificate)
        else:
            context.use_certificate_file(str(certificate), crypto.FILETYPE_ASN1)
        context.use_privatekey(identity.private_key)
    if alpn:
        context.set_alpn_protos([alpn])
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def drive(foreign: SSL.Connection, server: ControlChannel) -> None:
    """Carry the handshake on until the foreign client is through with it, and its last flight has arrived."""
    done = False
    while not done:
        try:
            foreign.do_handshake()
            done = True
        except SSL.WantReadError:
            pass
        server.receive(foreign.bio_read(65536))
        foreign.bio_write(server.data_to_send())


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        pytest.param(foreign_client(None), "did not return a certificate", id="no certificate"),
        pytest.param(foreign_client(USER, version=SSL.TLS1_2_VERSION), "unsupported protocol", id="TLS 1.2"),
        pytest.param(foreign_client(STRANGER), "proved key", id="other key"),
        pytest.param(foreign_client(USER, b"nconnect/9"), "does not speak nconnect/1", id="other ALPN"),
        pytest.param(foreign_client(USER, b""), "does not speak nconnect/1", id="no ALPN"),
    ],
)
def test_foreign_clients_are_refused(foreign: SSL.Connection, message: str) -> None:
    server = ControlChannel(PROVIDER, server=True, peer_public_key=USER.public_key)
    server.start()
    with pytest.raises(CryptoError, match=message):
        drive(foreign, server)
    assert not server.established


def test_a_certificate_that_openssl_reads_and_we_do_not(tmp_path: Path) -> None:
    version_3, version_8 = b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"
    path = tmp_path / "odd.der"
    path.write_bytes(USER.certificate_der.replace(version_3, version_8, 1))
    server = ControlChannel(PROVIDER, server=True, peer_public_key=USER.public_key)
    server.start()
    with pytest.raises(CryptoError, match="cannot be read"):
        drive(foreign_client(USER, certificate=path), server)


def test_a_foreign_client_with_the_right_key_and_protocol_is_welcome() -> None:
    server = ControlChannel(PROVIDER, server=True, peer_public_key=USER.public_key)
    server.start()
    drive(foreign_client(USER), server)
    assert server.established


def test_sending_into_a_tls_that_is_shut() -> None:
    client, _ = established()
    client._tls.shutdown()
    with pytest.raises(CryptoError, match="shutdown"):
        client.send(b"hello")
    assert client.failed is not None


def test_the_second_look_misses_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = ends()
    monkeypatch.setattr(SSL.Connection, "get_peer_certificate", lambda _: None)
    server.receive(client.data_to_send())
    with pytest.raises(CryptoError, match="showed no certificate"):
        client.receive(server.data_to_send())


def test_a_server_that_speaks_no_protocol_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = ends()
    monkeypatch.setattr(SSL.Connection, "get_alpn_proto_negotiated", lambda _: b"")
    server.receive(client.data_to_send())
    with pytest.raises(CryptoError, match="does not speak"):
        client.receive(server.data_to_send())


def test_a_message_over_the_limit_ends_the_channel() -> None:
    client, server = established()
    client._tls.send((MAX_MESSAGE + 1).to_bytes(4, "little"))
    with pytest.raises(DecodeError, match="65537 bytes"):
        server.receive(client.data_to_send())
    with pytest.raises(DecodeError):
        server.send(b"too late")
    with pytest.raises(DecodeError):
        server.export(b"", 32)


def test_the_inbox_stays_bounded() -> None:
    client, server = established()
    client.send(os.urandom(MAX_MESSAGE))
    data = client.data_to_send()
    server.receive(data[:-1])
    assert len(server._inbox) <= 4 + MAX_MESSAGE
    assert len(server.receive(data[-1:])) == 1
    assert not server._inbox


def test_an_altered_record_ends_the_channel() -> None:
    client, server = established()
    client.send(b"hello")
    data = bytearray(client.data_to_send())
    data[-1] ^= 1
    with pytest.raises(CryptoError, match="TLS with the peer failed"):
        server.receive(bytes(data))
    with pytest.raises(CryptoError):
        server.receive(b"anything")
    with pytest.raises(CryptoError, match="alert"):
        client.receive(server.data_to_send())


def test_a_record_that_comes_twice_ends_the_channel() -> None:
    client, server = established()
    client.send(b"hello")
    data = client.data_to_send()
    assert server.receive(data) == [b"hello"]
    with pytest.raises(CryptoError):
        server.receive(data)


def test_half_a_record_waits() -> None:
    client, server = established()
    client.send(b"hello")
    data = client.data_to_send()
    assert server.receive(data[:10]) == []
    assert server.receive(data[10:]) == [b"hello"]


def test_close_is_seen_behind_the_last_message() -> None:
    client, server = established()
    client.send(b"bye")
    client.close()
    client.close()
    assert server.receive(client.data_to_send()) == [b"bye"]
    assert server.closed and server.failed is None
    assert server.receive(b"ignored") == []
    with pytest.raises(ClosedError):
        server.send(b"hello")


def test_misuse_is_refused() -> None:
    with pytest.raises(UsageError, match="32 bytes, not 31"):
        ControlChannel(USER, server=False, peer_public_key=bytes(31))
    client, server = ends()
    with pytest.raises(UsageError, match="not established"):
        client.send(b"early")
    with pytest.raises(UsageError, match="not established"):
        client.export(b"", 32)
    exchange(client, server)
    with pytest.raises(UsageError, match="65537"):
        client.send(bytes(MAX_MESSAGE + 1))
    assert channel.EXPORTER_LABEL.startswith(b"EXPORTER-")


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=5), st.booleans())
def test_random_bytes_raise_protocol_errors_only(chunks: list[bytes], server: bool) -> None:
    end = ControlChannel(USER, server=server, peer_public_key=PROVIDER.public_key)
    end.start()
    try:
        for chunk in chunks:
            assert end.receive(chunk) == []
    except ProtocolError as error:
        assert end.failed is error and "\n" not in str(error)
    assert not end.established


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=50))
def test_random_damage_to_the_handshake(at: int, damage: bytes) -> None:
    client, server = ends()
    first = client.data_to_send()
    server.receive(first)
    answer = bytearray(server.data_to_send())
    at %= len(answer)
    answer[at : at + len(damage)] = damage
    try:
        client.receive(bytes(answer))
        server.receive(client.data_to_send())
    except ProtocolError:
        assert not (client.established and server.established)
    if client.established and server.established:
        client.send(b"hello")
        assert server.receive(client.data_to_send()) == [b"hello"]
