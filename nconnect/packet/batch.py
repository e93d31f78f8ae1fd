"""A batch: the packets that share one message, each behind its length.

::

    u32le length | packet | u32le length | packet | …

One batch is encrypted at once and is one NCP packet and one NKN message, so its price (a signature, a box,
a websocket frame) is paid once for up to a hundred packets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from nconnect.errors import DecodeError, UsageError

from .ip import MAX_PACKET, MIN_IP_SIZE
from .virtio import HEADER_SIZE

LENGTH_SIZE = 4
MIN_PACKET = HEADER_SIZE + MIN_IP_SIZE

MAX_CAPACITY = 1 << 20
"""A quarter of the largest message that an NKN node takes (4 MiB); beyond some 128 KiB a bigger batch saves
next to nothing and only makes others wait."""

_LENGTH = struct.Struct("<I")


class BatchWriter:
    """Builds batches of up to `capacity` bytes in one buffer of its own, over and over.

    Call contract: `add` packets, then `take` the batch; what it returns is a view into the buffer, valid
    until the next `add`: encrypt it or copy it before.
    """

    __slots__ = ("_buffer", "_size")

    def __init__(self, capacity: int) -> None:
        if not LENGTH_SIZE + MAX_PACKET <= capacity <= MAX_CAPACITY:
            raise UsageError(
                f"a batch of {capacity} bytes: not between one packet ({LENGTH_SIZE + MAX_PACKET}) "
                f"and {MAX_CAPACITY}"
            )
        self._buffer = memoryview(bytearray(capacity))
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes in the batch so far."""
        return self._size

    @property
    def capacity(self) -> int:
        return len(self._buffer)

    def add(self, packet: bytes | bytearray | memoryview) -> bool:
        """Copy `packet` behind what is there; False, and nothing changed, when it does not fit any more."""
        length = len(packet)
        if not MIN_PACKET <= length <= MAX_PACKET:
            raise UsageError(f"a packet of {length} bytes: not {MIN_PACKET} to {MAX_PACKET}")
        start = self._size + LENGTH_SIZE
        end = start + length
        if end > len(self._buffer):
            return False
        self._buffer[start:end] = packet
        _LENGTH.pack_into(self._buffer, self._size, length)
        self._size = end
        return True

    def take(self) -> memoryview:
        """The batch, and begin a new one; the view is valid until the next `add`."""
        batch = self._buffer[: self._size]
        self._size = 0
        return batch


def iter_packets(batch: bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """The packets of a batch, as views into it, in order.

    DecodeError where a length is shorter than any IP packet, over MAX_PACKET or beyond the end; the packets
    in front of that place have been yielded by then.
    """
    view = memoryview(batch)
    position, end = 0, len(view)
    unpack = _LENGTH.unpack_from
    while position < end:
        start = position + LENGTH_SIZE
        if start > end:
            raise DecodeError(f"batch cut off in a length field at {position} of {end} bytes")
        (length,) = unpack(view, position)
        position = start + length
        if not MIN_PACKET <= length <= MAX_PACKET:
            raise DecodeError(f"batch holds a packet of {length} bytes: not {MIN_PACKET} to {MAX_PACKET}")
        if position > end:
            raise DecodeError(f"batch cut off: a packet of {length} bytes, {end - start} are left")
        yield view[start:position]
