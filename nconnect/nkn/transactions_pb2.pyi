from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayloadType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COINBASE_TYPE: _ClassVar[PayloadType]
    TRANSFER_ASSET_TYPE: _ClassVar[PayloadType]
    SIG_CHAIN_TXN_TYPE: _ClassVar[PayloadType]
    REGISTER_NAME_TYPE: _ClassVar[PayloadType]
    TRANSFER_NAME_TYPE: _ClassVar[PayloadType]
    DELETE_NAME_TYPE: _ClassVar[PayloadType]
    SUBSCRIBE_TYPE: _ClassVar[PayloadType]
    UNSUBSCRIBE_TYPE: _ClassVar[PayloadType]
    GENERATE_ID_TYPE: _ClassVar[PayloadType]
    NANO_PAY_TYPE: _ClassVar[PayloadType]
    ISSUE_ASSET_TYPE: _ClassVar[PayloadType]
    GENERATE_ID_2_TYPE: _ClassVar[PayloadType]
COINBASE_TYPE: PayloadType
TRANSFER_ASSET_TYPE: PayloadType
SIG_CHAIN_TXN_TYPE: PayloadType
REGISTER_NAME_TYPE: PayloadType
TRANSFER_NAME_TYPE: PayloadType
DELETE_NAME_TYPE: PayloadType
SUBSCRIBE_TYPE: PayloadType
UNSUBSCRIBE_TYPE: PayloadType
GENERATE_ID_TYPE: PayloadType
NANO_PAY_TYPE: PayloadType
ISSUE_ASSET_TYPE: PayloadType
GENERATE_ID_2_TYPE: PayloadType

class Payload(_message.Message):
    __slots__ = ("type", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: PayloadType
    data: bytes
    def __init__(self, type: _Optional[_Union[PayloadType, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UnsignedTx(_message.Message):
    __slots__ = ("payload", "nonce", "fee", "attributes")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    FEE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    payload: Payload
    nonce: int
    fee: int
    attributes: bytes
    def __init__(self, payload: _Optional[_Union[Payload, _Mapping]] = ..., nonce: _Optional[int] = ..., fee: _Optional[int] = ..., attributes: _Optional[bytes] = ...) -> None: ...

class Program(_message.Message):
    __slots__ = ("code", "parameter")
    CODE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_FIELD_NUMBER: _ClassVar[int]
    code: bytes
    parameter: bytes
    def __init__(self, code: _Optional[bytes] = ..., parameter: _Optional[bytes] = ...) -> None: ...

class Transaction(_message.Message):
    __slots__ = ("unsigned_tx", "programs")
    UNSIGNED_TX_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    unsigned_tx: UnsignedTx
    programs: _containers.RepeatedCompositeFieldContainer[Program]
    def __init__(self, unsigned_tx: _Optional[_Union[UnsignedTx, _Mapping]] = ..., programs: _Optional[_Iterable[_Union[Program, _Mapping]]] = ...) -> None: ...

class TransferAsset(_message.Message):
    __slots__ = ("sender", "recipient", "amount")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    sender: bytes
    recipient: bytes
    amount: int
    def __init__(self, sender: _Optional[bytes] = ..., recipient: _Optional[bytes] = ..., amount: _Optional[int] = ...) -> None: ...

class RegisterName(_message.Message):
    __slots__ = ("registrant", "name", "registration_fee")
    REGISTRANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGISTRATION_FEE_FIELD_NUMBER: _ClassVar[int]
    registrant: bytes
    name: str
    registration_fee: int
    def __init__(self, registrant: _Optional[bytes] = ..., name: _Optional[str] = ..., registration_fee: _Optional[int] = ...) -> None: ...

class TransferName(_message.Message):
    __slots__ = ("name", "registrant", "recipient")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGISTRANT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    registrant: bytes
    recipient: bytes
    def __init__(self, name: _Optional[str] = ..., registrant: _Optional[bytes] = ..., recipient: _Optional[bytes] = ...) -> None: ...

class DeleteName(_message.Message):
    __slots__ = ("registrant", "name")
    REGISTRANT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    registrant: bytes
    name: str
    def __init__(self, registrant: _Optional[bytes] = ..., name: _Optional[str] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("subscriber", "identifier", "topic", "bucket", "duration", "meta")
    SUBSCRIBER_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    subscriber: bytes
    identifier: str
    topic: str
    bucket: int
    duration: int
    meta: bytes
    def __init__(self, subscriber: _Optional[bytes] = ..., identifier: _Optional[str] = ..., topic: _Optional[str] = ..., bucket: _Optional[int] = ..., duration: _Optional[int] = ..., meta: _Optional[bytes] = ...) -> None: ...

class Unsubscribe(_message.Message):
    __slots__ = ("subscriber", "identifier", "topic")
    SUBSCRIBER_FIELD_NUMBER: _ClassVar[int]
    IDENTIFIER_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    subscriber: bytes
    identifier: str
    topic: str
    def __init__(self, subscriber: _Optional[bytes] = ..., identifier: _Optional[str] = ..., topic: _Optional[str] = ...) -> None: ...

class NanoPay(_message.Message):
    __slots__ = ("sender", "recipient", "id", "amount", "txn_expiration", "nano_pay_expiration")
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TXN_EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    NANO_PAY_EXPIRATION_FIELD_NUMBER: _ClassVar[int]
    sender: bytes
    recipient: bytes
    id: int
    amount: int
    txn_expiration: int
    nano_pay_expiration: int
    def __init__(self, sender: _Optional[bytes] = ..., recipient: _Optional[bytes] = ..., id: _Optional[int] = ..., amount: _Optional[int] = ..., txn_expiration: _Optional[int] = ..., nano_pay_expiration: _Optional[int] = ...) -> None: ...
