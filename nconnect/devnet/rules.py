"""What a transaction must be like, whatever the ledger holds: sizes, names, topics, durations.

Source: nknd ``chain/txvalidator/txvalidator.go``, with the limits that ``config/config.go`` has for the
heights of today's main net.
"""

from __future__ import annotations

import re

from google.protobuf.message import Message

from nconnect.devnet.rejected import Rejected
from nconnect.errors import CryptoError, DecodeError
from nconnect.nkn import transactions_pb2 as pb
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE
from nconnect.nkn.keys import program_hash
from nconnect.nkn.transactions import REGISTRATION_FEE, UNIT, Transaction

MAX_SUPPLY = 1_000_000_000 * UNIT  # InitialIssueAmount + TotalMiningRewards
MAX_ATTRIBUTES = 100  # MaxTxnAttributesLen
MAX_DURATION = 400_000  # MaxSubscribeDuration, in blocks: about 92 days
MAX_IDENTIFIER = 64  # MaxSubscribeIdentifierLen, in bytes
MAX_META = 1024  # MaxSubscribeMetaLen, in bytes
PROGRAM_HASH_SIZE = 20

NAME = "(^[A-Za-z0-9][A-Za-z0-9-_+]{5,62}$)"  # AllowNameRegex
TOPIC = "(^[A-Za-z0-9][A-Za-z0-9-_.+]{2,254}$)"  # AllowSubscribeTopicRegex

# The same in Python's dialect, where a dash inside a class stands last, and the match is of the whole text.
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_+-]{5,62}")
_TOPIC = re.compile("[A-Za-z0-9][A-Za-z0-9_.+-]{2,254}")


def verify(transaction: Transaction) -> tuple[bytes, Message]:
    """The program hash (20 bytes) of the account that signed, and the payload's message.

    Rejected if the signature is not that account's, or if no ledger would take the payload.
    """
    try:
        key = transaction.verify()
        message = transaction.payload.message()
        _check_amount(transaction.fee, "fee ")
        if len(transaction.attributes) > MAX_ATTRIBUTES:
            raise Rejected(f"attributes len {len(transaction.attributes)} is greater than {MAX_ATTRIBUTES}")
        _check_payload(message)
    except (CryptoError, DecodeError, Rejected) as error:
        raise Rejected(f"[VerifyTransaction] {error}") from error
    return program_hash(key), message


def _check_payload(message: Message) -> None:
    match message:
        case pb.TransferAsset():
            _check_parties(message.sender, message.recipient)
            _check_amount(message.amount)
        case pb.NanoPay():
            _check_parties(message.sender, message.recipient)
            _check_amount(message.amount)
            if message.txn_expiration > message.nano_pay_expiration:
                raise Rejected("txn expiration should be no later than nano pay expiration")
        case pb.RegisterName():
            _check_key(message.registrant, "registrant")
            _check_amount(message.registration_fee)
            if message.registration_fee < REGISTRATION_FEE:
                raise Rejected(
                    f"registration fee {message.registration_fee} is lower than "
                    f"MinNameRegistrationFee {REGISTRATION_FEE}"
                )
            if not _NAME.fullmatch(message.name):
                raise Rejected(f"name {message.name} should match regex {NAME}")
        case pb.TransferName():
            _check_key(message.registrant, "registrant")
            _check_key(message.recipient, "recipient")
        case pb.DeleteName():
            _check_key(message.registrant, "registrant")
        case pb.Subscribe():
            _check_subscribe(message)
        case pb.Unsubscribe():
            _check_key(message.subscriber, "subscriber")
            _check_topic(message.topic)


def _check_subscribe(message: pb.Subscribe) -> None:
    _check_key(message.subscriber, "subscriber")
    if message.duration == 0:
        raise Rejected("subscribe duration should be greater than 0")
    if message.bucket:
        raise Rejected(f"subscribe bucket {message.bucket} is greater than 0")
    if message.duration > MAX_DURATION:
        raise Rejected(f"subscribe duration {message.duration} is greater than {MAX_DURATION}")
    _check_topic(message.topic)
    identifier = len(message.identifier.encode())
    if identifier > MAX_IDENTIFIER:
        raise Rejected(f"subscribe identifier len {identifier} is greater than {MAX_IDENTIFIER}")
    if len(message.meta) > MAX_META:
        raise Rejected(f"subscribe meta len {len(message.meta)} is greater than {MAX_META}")


def _check_topic(topic: str) -> None:
    if not _TOPIC.fullmatch(topic):
        raise Rejected(f"topic {topic} should match {TOPIC}")


def _check_key(key: bytes, what: str) -> None:
    if len(key) != PUBLIC_KEY_SIZE:
        raise Rejected(f"{what} invalid")


def _check_parties(sender: bytes, recipient: bytes) -> None:
    if len(sender) != PROGRAM_HASH_SIZE or len(recipient) != PROGRAM_HASH_SIZE:
        raise Rejected("length of programhash error")


def _check_amount(amount: int, what: str = "") -> None:
    if amount < 0:
        raise Rejected(f"{what}amount {amount} is less than 0")
    if amount > MAX_SUPPLY:
        raise Rejected(f"{what}amount {amount} is greater than max supply")
