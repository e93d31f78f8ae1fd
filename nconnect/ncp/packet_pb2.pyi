from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Packet(_message.Message):
    __slots__ = ("sequence_id", "data", "ack_start_seq", "ack_seq_count", "bytes_read", "client_ids", "window_size", "mtu", "close", "handshake")
    SEQUENCE_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    ACK_START_SEQ_FIELD_NUMBER: _ClassVar[int]
    ACK_SEQ_COUNT_FIELD_NUMBER: _ClassVar[int]
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    CLIENT_IDS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SIZE_FIELD_NUMBER: _ClassVar[int]
    MTU_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    sequence_id: int
    data: bytes
    ack_start_seq: _containers.RepeatedScalarFieldContainer[int]
    ack_seq_count: _containers.RepeatedScalarFieldContainer[int]
    bytes_read: int
    client_ids: _containers.RepeatedScalarFieldContainer[str]
    window_size: int
    mtu: int
    close: bool
    handshake: bool
    def __init__(self, sequence_id: _Optional[int] = ..., data: _Optional[bytes] = ..., ack_start_seq: _Optional[_Iterable[int]] = ..., ack_seq_count: _Optional[_Iterable[int]] = ..., bytes_read: _Optional[int] = ..., client_ids: _Optional[_Iterable[str]] = ..., window_size: _Optional[int] = ..., mtu: _Optional[int] = ..., close: _Optional[bool] = ..., handshake: _Optional[bool] = ...) -> None: ...
