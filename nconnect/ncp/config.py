"""What a session can be told to do; the defaults say which design point they are for."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from nconnect.errors import UsageError

from .sequence import FIRST_SEQUENCE, MAX_SEQUENCE

MAX_UINT32 = 2**32 - 1
TIMES = (
    "ack_delay",
    "flush_interval",
    "linger",
    "dial_timeout",
    "dead_timeout",
    "answer_timeout",
    "keep_alive",
)


class Mode(enum.Enum):
    """What one write becomes at the other end. A local choice: it is not on the wire."""

    STREAM = "stream"
    """Bytes in order; writes are merged into packets of up to one MTU."""

    MESSAGE = "message"
    """One write is one packet is one received message; messages arrive in order."""

    UNORDERED = "unordered"
    """As MESSAGE, but each message is handed over when it arrives, once, whatever came before it."""


@dataclass(frozen=True, slots=True)
class Config:
    """Configuration of one session. Sizes are bytes, times are seconds."""

    mode: Mode = Mode.STREAM

    mtu: int = 64 << 10
    """Largest data of one packet, both ways; the session uses min(ours, the peer's). A packet costs a box, a
    signature and a frame whatever its size: two of ours with the official SDKs' 1024 are ten times as slow.
    With one of theirs it is 1024 that both agree on."""

    window_size: int = 4 << 20
    """Bytes that the peer may send beyond what our application has read (and we, beyond what its has).
    4 MiB is the SDKs' default: 320 Mbit/s at 100 ms."""

    send_buffer: int = 1 << 20
    """Bytes that wait for their first transmission before write() takes no more: 8 ms at 1 Gbit/s."""

    ack_delay: float = 0.010
    """The longest that an ACK waits for others to share its packet (ncp-go: always 50 ms)."""

    ack_bytes: int = 256 << 10
    """Received bytes on one path after which the ACK waits no longer: 500 ACKs a second at 1 Gbit/s."""

    flush_interval: float = 0.010
    """STREAM: the longest that a part-filled packet waits for more bytes while others are in flight."""

    linger: float = 3.0
    """The longest that close() waits without progress until all that was written is acknowledged and read:
    some round trips through far relays, with a loss. ncp-go waits 1 s in all, and cuts off what a slow path
    still carries."""

    dial_timeout: float = 30.0
    """The longest that connect() tries; then Closed(DialTimeoutError)."""

    dead_timeout: float = 120.0
    """Silence of the peer after which the session ends, while data waits for its ACK or since it was asked
    whether it is there; 0 waits for ever, as ncp-go does."""

    answer_timeout: float = 0.0
    """Silence of the peer while data waits for its ACK and a path is there to carry it, after which the
    session ends; longer on paths that are slower than that. 0 leaves it to ``dead_timeout``. For who can have
    another session at once and must not wait: what was lost is sent again within a round trip or two."""

    keep_alive: float = 60.0
    """Silence of the peer after which it is asked whether it is still there; 0 never asks. So an idle session
    lives as long as both ends do, whatever SDK the peer has, and no longer."""

    first_sequence: int = FIRST_SEQUENCE
    """Number of the first packet, both ways. Anything but 1 only serves to reach the wrap in a test."""

    def __post_init__(self) -> None:
        for name in ("mtu", "window_size"):
            if not 1 <= getattr(self, name) <= MAX_UINT32:
                raise UsageError(f"NCP {name} must be 1 to {MAX_UINT32} bytes, not {getattr(self, name)}")
        for name in ("send_buffer", "ack_bytes"):
            if getattr(self, name) < 1:
                raise UsageError(f"NCP {name} must be at least 1 byte, not {getattr(self, name)}")
        for name in TIMES:
            if not getattr(self, name) >= 0:
                raise UsageError(f"NCP {name} must be 0 or more seconds, not {getattr(self, name)}")
        if not FIRST_SEQUENCE <= self.first_sequence <= MAX_SEQUENCE:
            raise UsageError(f"NCP first_sequence must be 1 to {MAX_SEQUENCE}, not {self.first_sequence}")
