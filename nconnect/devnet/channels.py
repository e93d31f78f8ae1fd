"""Nano pay: how much of a payment off the chain has been claimed on it (nknd ``store/nanopay.go``)."""

from __future__ import annotations

from typing import NamedTuple

from nconnect.devnet.rejected import Rejected
from nconnect.nkn import transactions_pb2 as pb

# Some 300 bytes each.
MAX_CHANNELS = 16_384


class Channel(NamedTuple):
    """Units claimed so far, and the height of the block that ends the channel."""

    claimed: int
    expires_at: int


class Channels:
    """Payments by sender, recipient and the number that the sender chose."""

    __slots__ = ("_channels",)

    def __init__(self) -> None:
        self._channels: dict[tuple[bytes, bytes, int], Channel] = {}

    def check_claim(self, payment: pb.NanoPay, height: int) -> int:
        """Units that a payment adds to what was claimed before; Rejected if that is nothing, or too late."""
        if height > payment.txn_expiration:
            raise Rejected("nano pay txn has expired")
        if height > payment.nano_pay_expiration:
            raise Rejected("nano pay has expired")
        channel = self._channels.get(_key(payment))
        if channel is None and len(self._channels) >= MAX_CHANNELS:
            raise Rejected(f"this devnet keeps {MAX_CHANNELS} nano pay channels: wait until some expire")
        claim = payment.amount - (channel.claimed if channel else 0)
        if claim <= 0:
            raise Rejected("invalid amount")
        return claim

    def claim(self, payment: pb.NanoPay) -> None:
        """Remember a payment's amount; `check_claim` has been called."""
        self._channels[_key(payment)] = Channel(payment.amount, payment.nano_pay_expiration)

    def expire(self, height: int) -> None:
        """Forget the channels that end with the block of ``height``; nothing can be claimed from them."""
        for key in [key for key, channel in self._channels.items() if channel.expires_at <= height]:
            del self._channels[key]


def _key(payment: pb.NanoPay) -> tuple[bytes, bytes, int]:
    return payment.sender, payment.recipient, payment.id
