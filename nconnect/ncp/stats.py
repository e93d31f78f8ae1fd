"""What a connection counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PathStats:
    """One path: our sub-client `local_id` and the peer's `remote_id`."""

    local_id: str
    remote_id: str
    ready: bool
    """The driver said that it can be sent on."""
    suspect: bool
    """It lost all that was under way on it and has not answered since: only probes are sent on it."""
    srtt: float | None
    """Smoothed round-trip time in seconds, the peer's ACK delay included; None before the first sample."""
    rto: float
    """Retransmission time-out in seconds."""
    window: int
    """Congestion window in bytes."""
    in_flight: int
    """Bytes sent here and neither acknowledged nor given up."""
    bytes_sent: int
    """Data bytes sent here, resent ones included."""
    bytes_received: int
    """Data bytes that arrived here, duplicates included."""


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot. Bytes are data bytes of packets, without any framing."""

    bytes_sent: int = 0
    """Sent for the first time."""
    bytes_received: int = 0
    """Received for the first time."""
    bytes_queued: int = 0
    """Written, not yet sent."""
    bytes_in_flight: int = 0
    packets_sent: int = 0
    """Packets of any kind."""
    packets_received: int = 0
    retransmissions: int = 0
    """Data packets sent again, probes included."""
    spurious_retransmissions: int = 0
    """Losses declared of packets that had arrived, as far as can be told."""
    duplicates: int = 0
    """Data packets received more than once."""
    refused: int = 0
    """Data packets that did not fit into our window."""
    paths: tuple[PathStats, ...] = ()
