"""What a connection tells its driver, and what it gives it to send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Established:
    """The handshake is done: write() takes data now."""

    send_mtu: int
    """Largest message in bytes; the size of a full packet in stream mode."""

    send_window: int
    """Bytes that may be under way beyond what the peer's application has read."""

    paths: int
    """Number of paths: the smaller of the two counts of sub-clients."""


@dataclass(frozen=True, slots=True)
class Readable:
    """read() or receive_message() has something. Told again only after they were found empty."""


@dataclass(frozen=True, slots=True)
class Writable:
    """There is room again after write() took less than it was given."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; always the last event. What was received before stays readable."""

    error: Exception | None
    """None after an orderly end: close() with everything acknowledged, or the peer's close."""

    by_peer: bool = False
    """Whether the peer closed."""


Event = Established | Readable | Writable | Closed


class Transmit(NamedTuple):
    """One packet to send from sub-client `local_id` to the peer's sub-client `remote_id`.

    A named tuple, not a dataclass: thousands a second are made.
    """

    local_id: str
    remote_id: str
    data: bytes
