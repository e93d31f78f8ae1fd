"""What became of the messages, in counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stats:
    """Counters of a whole devnet since it was made. Every message to a destination ends in one of them, or
    in `Devnet.held` or on its way."""

    joined: int = 0
    """setClient requests that were accepted."""
    refused: int = 0
    """setClient requests that were not: wrong node, bad address, bad signature."""
    received: int = 0
    """Binary websocket messages from clients."""
    received_bytes: int = 0
    delivered: int = 0
    """Messages handed to a receiver's websocket; one for each websocket of a client ID."""
    delivered_bytes: int = 0
    receipts: int = 0
    """Receipts whose signature was right."""

    malformed: int = 0
    """Binary messages that were none, or named something that is no address, or came before setClient."""
    forged: int = 0
    """Outbound messages and receipts with a wrong signature (only with ``verify_signatures``)."""
    lost: int = 0
    """Dropped on purpose (``loss_pct``)."""
    queue_full: int = 0
    """Dropped because a node's link (``rate_mbit``), or all messages under way, had too much to carry."""
    slow_reader: int = 0
    """Dropped because the receiver reads too slowly."""
    absent: int = 0
    """Dropped because the receiver was not there and the sender did not ask to hold the message."""
    expired: int = 0
    """Held, and dropped after ``max_holding_seconds`` or because too much was held."""
    dropped_clients: int = 0
    """Websockets cut because the client was silent or did not read."""
