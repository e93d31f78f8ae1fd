"""The control channel: TLS 1.3 between the two NKN identities, bytes in and bytes out.

Both ends show the certificate of their NKN key.  No authority is asked: a certificate is right exactly if
its key is the one in the peer's NKN address.  Inside TLS, a control message is ``u32le length | bytes``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from OpenSSL import SSL, crypto

from nconnect.errors import ClosedError, CryptoError, DecodeError, ProtocolError, UsageError

from .identity import PUBLIC_KEY_SIZE, Identity, public_key_of

ALPN = b"nconnect/1"
EXPORTER_LABEL = b"EXPORTER-nconnect-data-v1"
CIPHER_SUITES = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

MAX_MESSAGE = 64 * 1024
"""Bytes of a control message: a Welcome with a thousand routes has some 30 KiB."""

_Verify = Callable[[SSL.Connection, crypto.X509, int, int, int], bool]

_LENGTH = struct.Struct("<I")
# A TLS record carries 16 KiB (RFC 8446, 5.1): what one read from the connection can bring.
_RECORD = 16 * 1024
_BIO_READ = 64 * 1024


class ControlChannel:
    """One end of the control channel; `server` is the provider, `peer_public_key` the 32-byte NKN key.

    Call contract: `start`, then after every call of any method send what `data_to_send` returns to the peer,
    in order.  Feed what comes from the peer, in order, to `receive`; it returns the control messages that
    became complete.  `send` and `export` may be used once `established`.

    A violation by the peer (other key, broken record, message over MAX_MESSAGE) raises CryptoError or
    DecodeError and ends the channel: `failed` then holds the error, every later call raises it again, and
    `data_to_send` still has the alert that tells the peer.  `closed` says that the peer has ended the channel
    in order.
    """

    def __init__(self, identity: Identity, *, server: bool, peer_public_key: bytes) -> None:
        if len(peer_public_key) != PUBLIC_KEY_SIZE:
            raise UsageError(f"a peer's public key has {PUBLIC_KEY_SIZE} bytes, not {len(peer_public_key)}")
        self.established = False
        self.closed = False
        self.failed: ProtocolError | None = None
        self._peer_public_key = peer_public_key
        self._shown: bytes | None = None
        self._inbox = bytearray()
        self._tls = SSL.Connection(_context(identity, self._verify), None)
        if server:
            self._tls.set_accept_state()
        else:
            self._tls.set_connect_state()

    @property
    def group(self) -> str:
        """The key exchange group, e.g. "X25519MLKEM768"; empty until established."""
        return (self._tls.get_group_name() or "") if self.established else ""

    @property
    def cipher(self) -> str:
        """The cipher suite, e.g. "TLS_AES_256_GCM_SHA384"; empty until established."""
        return (self._tls.get_cipher_name() or "") if self.established else ""

    def start(self) -> None:
        """Begin the handshake: the client then has its first message to send."""
        self._advance()

    def receive(self, data: bytes | memoryview) -> list[bytes]:
        """Feed bytes of the TLS stream; the control messages that are complete now, in order."""
        self._require_alive()
        if self.closed or not data:
            return []
        self._tls.bio_write(data)
        self._advance()
        return self._read_messages() if self.established else []

    def send(self, message: bytes) -> None:
        """Queue one control message of up to MAX_MESSAGE bytes."""
        self._require_alive()
        if self.closed:
            raise ClosedError("the control channel is closed")
        if not self.established:
            raise UsageError("the control channel is not established yet")
        if len(message) > MAX_MESSAGE:
            raise UsageError(f"a control message of {len(message)} bytes: the most is {MAX_MESSAGE}")
        try:
            self._tls.sendall(_LENGTH.pack(len(message)) + message)
        except SSL.Error as error:
            raise self._fail(CryptoError(f"TLS with the peer failed: {_reason(error)}")) from None

    def data_to_send(self) -> bytes:
        """What is to go to the peer now; empty when there is nothing."""
        chunks = []
        while True:
            try:
                chunks.append(self._tls.bio_read(_BIO_READ))
            except SSL.WantReadError:
                return b"".join(chunks)

    def export(self, context: bytes, length: int) -> bytes:
        """`length` bytes that both ends, and nobody else, derive for `context` (RFC 8446, 7.5)."""
        self._require_alive()
        if not self.established:
            raise UsageError("the control channel is not established yet")
        return self._tls.export_keying_material(EXPORTER_LABEL, length, context)

    def close(self) -> None:
        """Tell the peer that nothing more will come (close_notify); harmless when said before."""
        if self.established and not self.closed and self.failed is None:
            self._tls.shutdown()
        self.closed = True

    def _advance(self) -> None:
        """Take the handshake as far as the bytes at hand allow."""
        self._require_alive()
        if self.established:
            return
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            if _reason(error) == "certificate verify failed":
                raise self._fail(self._wrong_certificate()) from None
            raise self._fail(CryptoError(f"the TLS handshake failed: {_reason(error)}")) from None
        self._confirm()
        self.established = True

    def _verify(
        self, _tls: SSL.Connection, certificate: crypto.X509, _errno: int, depth: int, _ok: int
    ) -> bool:
        """OpenSSL's verdict (unknown issuer) does not matter here; the key does."""
        return depth == 0 and self._is_peer(certificate)

    def _is_peer(self, certificate: crypto.X509 | None) -> bool:
        self._shown = None
        if certificate is not None:
            self._shown = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        try:
            return self._shown is not None and public_key_of(self._shown) == self._peer_public_key
        except CryptoError:
            return False

    def _confirm(self) -> None:
        """Look once more, after the handshake, at what must hold whatever callback was called or not."""
        if not self._is_peer(self._tls.get_peer_certificate()):
            raise self._fail(self._wrong_certificate())
        if self._tls.get_alpn_proto_negotiated() != ALPN:
            raise self._fail(CryptoError(f"the peer does not speak {ALPN.decode()}"))

    def _read_messages(self) -> list[bytes]:
        messages: list[bytes] = []
        try:
            while True:
                self._inbox += self._tls.recv(_RECORD)
                self._split(messages)
        except SSL.WantReadError:
            return messages
        except SSL.ZeroReturnError:
            self.closed = True
            return messages
        except SSL.Error as error:
            raise self._fail(CryptoError(f"TLS with the peer failed: {_reason(error)}")) from None

    def _split(self, messages: list[bytes]) -> None:
        """Move complete messages from the inbox, which so never holds more than one and a record."""
        inbox = self._inbox
        position = 0
        while len(inbox) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(inbox, position)
            if length > MAX_MESSAGE:
                raise self._fail(DecodeError(f"control message of {length} bytes: the most is {MAX_MESSAGE}"))
            end = position + _LENGTH.size + length
            if len(inbox) < end:
                break
            messages.append(bytes(inbox[position + _LENGTH.size : end]))
            position = end
        del inbox[:position]

    def _wrong_certificate(self) -> CryptoError:
        if self._shown is None:
            return CryptoError("the peer showed no certificate")
        try:
            shown = public_key_of(self._shown).hex()
        except CryptoError as error:
            return error
        return CryptoError(
            f"the peer proved key {shown}, but its NKN address has {self._peer_public_key.hex()}"
        )

    def _require_alive(self) -> None:
        if self.failed is not None:
            raise self.failed

    def _fail(self, error: ProtocolError) -> ProtocolError:
        self.failed = error
        self._inbox.clear()
        return error


def _context(identity: Identity, verify: _Verify) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(CIPHER_SUITES)
    # OpenSSL still sends two tickets that name a session in a cache; without a cache nothing resumes.
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.private_key)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
    context.set_alpn_protos([ALPN])
    context.set_alpn_select_callback(
        lambda _tls, offered: ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    return context


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words for what went wrong, e.g. "certificate verify failed"."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(entry[-1] for entry in queue) or "the connection broke"
