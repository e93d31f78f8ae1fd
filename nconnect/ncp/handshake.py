"""What the two handshakes agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nconnect.errors import ProtocolError

from .config import Config
from .packet_pb2 import Packet

# The dialler repeats its handshake (the SDKs send it once), first after this time, then each time later, up
# to one a second: so a peer that has just come back is heard soon, for 1 KB a second.
RESEND_INTERVAL = 0.5
RESEND_GROWTH = 1.5
MAX_RESEND_INTERVAL = 1.0
# The acceptor repeats its answer when asked again, but only so often: each of the dialler's sub-clients asks.
ANSWER_INTERVAL = 0.2
# And so often unasked, while the dialler says nothing: an official one does not ask again.
MAX_ANSWERS_UNASKED = 4


@dataclass(frozen=True, slots=True)
class Agreement:
    """Outcome of a handshake."""

    send_mtu: int
    """Largest data of one packet, bytes: also no larger than the window, or it could never be sent."""
    send_window: int
    pairs: tuple[tuple[str, str], ...]
    """The paths: (our sub-client, the peer's)."""


def agree(config: Config, local_ids: Sequence[str], packet: Packet) -> Agreement:
    """Combine our side with the peer's handshake. ProtocolError: nothing to agree on."""
    if not (packet.window_size and packet.mtu and packet.client_ids):
        raise ProtocolError(
            f"NCP handshake with window {packet.window_size}, MTU {packet.mtu} and {len(packet.client_ids)} "
            "client ids: none may be 0"
        )
    send_window = min(config.window_size, packet.window_size)
    return Agreement(
        send_mtu=min(config.mtu, packet.mtu, send_window),
        send_window=send_window,
        pairs=tuple(zip(local_ids, packet.client_ids, strict=False)),
    )
