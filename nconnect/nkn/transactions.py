"""Transactions of the NKN chain: built, signed, encoded, decoded and verified.

What is hashed and signed is not the protobuf but the *unsigned* serialization::

    u32le payload type | varbytes(payload) | u64le nonce | u64le fee | varbytes(attributes)

The signature is Ed25519 over its SHA-256, the transaction's hash its double SHA-256. A payload is built by
one of the functions here, and `sign` makes a transaction of it that RPC ``sendrawtransaction`` takes in hex.
Amounts are integers of 10⁻⁸ NKN. Source: nkn-sdk-js ``wallet/transaction.js``, nknd ``transaction/``,
``program/program.go``.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass

from google.protobuf.message import DecodeError as ProtobufError
from google.protobuf.message import Message

from nconnect.errors import AddressError, CryptoError, DecodeError, UsageError
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE
from nconnect.nkn.keys import SIGNATURE_SIZE, KeyPair, program_hash, verify
from nconnect.nkn.wallet import parse_wallet_address
from nconnect.nkn.wire import varbytes

DECIMALS = 8
UNIT = 10**DECIMALS
"""Units in one NKN."""

MAX_AMOUNT = 2**63 - 1
"""Amounts are int64 on the wire."""

REGISTRATION_FEE = 10 * UNIT
"""What nodes ask for a name at the least (nknd config.MinNameRegistrationFee)."""

MAX_TRANSACTION_SIZE = 1 << 20
"""Bytes: the size of a whole block (nknd config.MaxBlockSize)."""

# The program that checks a signature: push 32 bytes, CHECKSIG; its parameter: push 64 bytes.
_PUSH_KEY, _CHECKSIG, _PUSH_SIGNATURE = b"\x20", b"\xac", b"\x40"

# Twelve digits in front of the point are more tokens than there are.
_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,8}))?")

_U32 = struct.Struct("<I")
_NONCE_AND_FEE = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Payload:
    """What a transaction does: `kind` is the type of the message that `data` encodes."""

    kind: pb.PayloadType
    data: bytes

    def message(self) -> Message:
        """The decoded message, e.g. TransferAsset; DecodeError when it is broken or of a kind not known."""
        if self.kind not in _MESSAGES:
            raise DecodeError(f"a transaction of type {self.kind} is none that a wallet makes")
        message = _MESSAGES[self.kind]()
        try:
            message.ParseFromString(self.data)
        except ProtobufError:
            raise DecodeError(f"the payload of a transaction of type {self.kind} cannot be read") from None
        return message


_MESSAGES: dict[pb.PayloadType, type[Message]] = {
    pb.TRANSFER_ASSET_TYPE: pb.TransferAsset,
    pb.REGISTER_NAME_TYPE: pb.RegisterName,
    pb.TRANSFER_NAME_TYPE: pb.TransferName,
    pb.DELETE_NAME_TYPE: pb.DeleteName,
    pb.SUBSCRIBE_TYPE: pb.Subscribe,
    pb.UNSUBSCRIBE_TYPE: pb.Unsubscribe,
    pb.NANO_PAY_TYPE: pb.NanoPay,
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """A signed transaction; `code` and `parameter` are its program: whose signature, and the signature."""

    payload: Payload
    nonce: int
    fee: int
    attributes: bytes
    code: bytes
    parameter: bytes

    def unsigned(self) -> bytes:
        """The bytes that are hashed and signed."""
        return _unsigned(self.payload, self.nonce, self.fee, self.attributes)

    @property
    def hash(self) -> bytes:
        """32 bytes; RPC shows them as hex in this order."""
        return hashlib.sha256(hashlib.sha256(self.unsigned()).digest()).digest()

    def encode(self) -> bytes:
        """The protobuf that ``sendrawtransaction`` takes in hex."""
        unsigned = pb.UnsignedTx(
            payload=pb.Payload(type=self.payload.kind, data=self.payload.data),
            nonce=self.nonce,
            fee=self.fee,
            attributes=self.attributes,
        )
        program = pb.Program(code=self.code, parameter=self.parameter)
        return pb.Transaction(unsigned_tx=unsigned, programs=[program]).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> Transaction:
        """Parse what `encode` makes; DecodeError when it is no transaction with one program.

        `verify` has not been called yet.
        """
        if len(data) > MAX_TRANSACTION_SIZE:
            raise DecodeError(f"a transaction of {len(data)} bytes: the most is {MAX_TRANSACTION_SIZE}")
        try:
            message = pb.Transaction.FromString(data)
        except ProtobufError:
            raise DecodeError(f"{len(data)} bytes that are no transaction") from None
        unsigned = message.unsigned_tx
        if len(message.programs) != 1 or unsigned.fee < 0 or unsigned.payload.type < 0:
            raise DecodeError(f"no transaction: {len(message.programs)} programs, fee {unsigned.fee}")
        return cls(
            payload=Payload(unsigned.payload.type, unsigned.payload.data),
            nonce=unsigned.nonce,
            fee=unsigned.fee,
            attributes=unsigned.attributes,
            code=message.programs[0].code,
            parameter=message.programs[0].parameter,
        )

    def verify(self) -> bytes:
        """The public key that signed, if it is the one whose tokens or name the payload disposes of.

        CryptoError otherwise; DecodeError when the payload is none that a wallet makes.
        """
        owner = _owner(self.payload.message())
        key = self.code[1:-1]
        if self.code != _PUSH_KEY + key + _CHECKSIG or len(key) != PUBLIC_KEY_SIZE:
            raise CryptoError("the program of a transaction checks no signature of one key")
        if owner not in (key, program_hash(key)):
            raise CryptoError(f"{key.hex()} signed a transaction that is not its own")
        signature = self.parameter[1:]
        if self.parameter != _PUSH_SIGNATURE + signature or len(signature) != SIGNATURE_SIZE:
            raise CryptoError("the program of a transaction has no signature")
        verify(key, hashlib.sha256(self.unsigned()).digest(), signature)
        return key


def sign(key: KeyPair, payload: Payload, *, nonce: int, fee: int = 0, attributes: bytes = b"") -> Transaction:
    """A transaction of `key`; `nonce` is what RPC ``getnoncebyaddr`` says, `fee` in units."""
    if not 0 <= nonce < 2**64:
        raise UsageError(f"a nonce is an unsigned 64-bit number, not {nonce}")
    digest = hashlib.sha256(_unsigned(payload, nonce, _amount(fee), attributes)).digest()
    return Transaction(
        payload=payload,
        nonce=nonce,
        fee=fee,
        attributes=attributes,
        code=_PUSH_KEY + key.public_key + _CHECKSIG,
        parameter=_PUSH_SIGNATURE + key.sign(digest),
    )


def transfer(sender: bytes, recipient: str, amount: int) -> Payload:
    """Send `amount` units from the wallet of public key `sender` to the wallet address `recipient`."""
    message = pb.TransferAsset(
        sender=program_hash(_public_key(sender)),
        recipient=parse_wallet_address(recipient),
        amount=_amount(amount),
    )
    return Payload(pb.TRANSFER_ASSET_TYPE, message.SerializeToString())


def register_name(registrant: bytes, name: str, registration_fee: int = REGISTRATION_FEE) -> Payload:
    """Register `name` for a public key."""
    message = pb.RegisterName(
        registrant=_public_key(registrant), name=_text(name), registration_fee=_amount(registration_fee)
    )
    return Payload(pb.REGISTER_NAME_TYPE, message.SerializeToString())


def transfer_name(name: str, registrant: bytes, recipient: bytes) -> Payload:
    """Give a name from one public key to another."""
    message = pb.TransferName(
        name=_text(name), registrant=_public_key(registrant), recipient=_public_key(recipient)
    )
    return Payload(pb.TRANSFER_NAME_TYPE, message.SerializeToString())


def delete_name(registrant: bytes, name: str) -> Payload:
    """Give a name up."""
    message = pb.DeleteName(registrant=_public_key(registrant), name=_text(name))
    return Payload(pb.DELETE_NAME_TYPE, message.SerializeToString())


def subscribe(subscriber: bytes, identifier: str, topic: str, duration: int, meta: str = "") -> Payload:
    """Subscribe the client ``identifier.subscriber`` to a topic for `duration` blocks (about 20 s each)."""
    if not 0 < duration < 2**32:
        raise UsageError(f"a subscription lasts 1 to 2^32-1 blocks, not {duration}")
    message = pb.Subscribe(
        subscriber=_public_key(subscriber),
        identifier=_text(identifier),
        topic=_text(topic),
        duration=duration,
        meta=_text(meta).encode(),
    )
    return Payload(pb.SUBSCRIBE_TYPE, message.SerializeToString())


def unsubscribe(subscriber: bytes, identifier: str, topic: str) -> Payload:
    """End a subscription."""
    message = pb.Unsubscribe(
        subscriber=_public_key(subscriber), identifier=_text(identifier), topic=_text(topic)
    )
    return Payload(pb.UNSUBSCRIBE_TYPE, message.SerializeToString())


def nano_pay(
    sender: bytes, recipient: str, channel: int, amount: int, *, txn_expiration: int, expiration: int
) -> Payload:
    """A payment off the chain of `amount` units in all so far; only the last of a channel is sent.

    Both expirations are block heights: of this transaction, and of the channel.
    """
    message = pb.NanoPay(
        sender=program_hash(_public_key(sender)),
        recipient=parse_wallet_address(recipient),
        id=channel,
        amount=_amount(amount),
        txn_expiration=txn_expiration,
        nano_pay_expiration=expiration,
    )
    return Payload(pb.NANO_PAY_TYPE, message.SerializeToString())


def parse_amount(text: str) -> int:
    """Units in a decimal number of NKN, e.g. "0.1" is 10,000,000; UsageError for anything else."""
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise UsageError(f"{text[:40]!r} is no amount of NKN: a number with at most 8 decimals")
    return _amount(int(match[1]) * UNIT + int((match[2] or "").ljust(DECIMALS, "0")))


def format_amount(units: int) -> str:
    """A number of NKN without needless zeros: 10,000,000 units are "0.1"."""
    whole, rest = divmod(units, UNIT)
    return f"{whole}.{rest:0{DECIMALS}}".rstrip("0").rstrip(".")


def _unsigned(payload: Payload, nonce: int, fee: int, attributes: bytes) -> bytes:
    return b"".join(
        (
            _U32.pack(payload.kind),
            varbytes(payload.data),
            _NONCE_AND_FEE.pack(nonce, fee),
            varbytes(attributes),
        )
    )


def _owner(message: Message) -> bytes:
    """The public key or program hash whose signature is needed (nknd Transaction.GetProgramHashes)."""
    if isinstance(message, pb.TransferAsset | pb.NanoPay):
        return message.sender
    if isinstance(message, pb.Subscribe | pb.Unsubscribe):
        return message.subscriber
    assert isinstance(message, pb.RegisterName | pb.TransferName | pb.DeleteName)
    return message.registrant


def _public_key(key: bytes) -> bytes:
    if len(key) != PUBLIC_KEY_SIZE:
        raise AddressError(f"a public key has {PUBLIC_KEY_SIZE} bytes, not {len(key)}")
    return key


def _text(text: str) -> str:
    """Arguments of a command line that are not UTF-8 hold surrogates, which protobuf does not take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is not valid UTF-8") from None
    return text


def _amount(units: int) -> int:
    if not 0 <= units <= MAX_AMOUNT:
        raise UsageError(f"an amount of {units} units is not between 0 and {MAX_AMOUNT}")
    return units
