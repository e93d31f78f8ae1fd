"""Subscriptions: who gets what is published under a topic (nknd ``store/pubsub.go``)."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from nconnect.devnet.rejected import Rejected
from nconnect.nkn.addresses import Address

# With the longest topic, identifier and meta data some 2 KiB each: 32 MiB.
MAX_SUBSCRIPTIONS = 16_384
# nknd hashPrefixLength.
SUBSCRIBER_HASH_SIZE = 20


class Subscription(NamedTuple):
    """Who subscribed, with what note, and the height of the block that ends it."""

    address: str
    meta: str
    expires_at: int


NONE = Subscription("", "", 0)


def subscriber_hash(public_key: bytes, identifier: str) -> bytes:
    """What orders the subscribers of a topic, and what a prefix picks a sample by; 20 bytes."""
    return hashlib.sha256(public_key + identifier.encode()).digest()[:SUBSCRIBER_HASH_SIZE]


class Topics:
    """All subscriptions, by topic (upper and lower case are one) and subscriber."""

    __slots__ = ("_count", "_topics")

    def __init__(self) -> None:
        self._topics: dict[str, dict[bytes, Subscription]] = {}
        self._count = 0

    def get(self, topic: str, public_key: bytes, identifier: str) -> Subscription:
        """A subscription; `NONE` if there is none."""
        return self._of(topic).get(subscriber_hash(public_key, identifier), NONE)

    def subscribers(self, topic: str, prefix: bytes = b"") -> list[Subscription]:
        """A topic's subscriptions by hash, of those subscribers whose hash begins with ``prefix``."""
        return [entry for key, entry in sorted(self._of(topic).items()) if key.startswith(prefix)]

    def check_subscribe(self, topic: str, public_key: bytes, identifier: str) -> None:
        """Rejected if there is no room for one more."""
        if self.get(topic, public_key, identifier) is NONE and self._count >= MAX_SUBSCRIPTIONS:
            raise Rejected(f"this devnet keeps {MAX_SUBSCRIPTIONS} subscriptions: unsubscribe some")

    def subscribe(self, topic: str, public_key: bytes, identifier: str, meta: str, expires_at: int) -> None:
        """Begin a subscription, or replace its note and end."""
        subscribers = self._topics.setdefault(topic.lower(), {})
        before = len(subscribers)
        address = str(Address(identifier, public_key))
        subscribers[subscriber_hash(public_key, identifier)] = Subscription(address, meta, expires_at)
        self._count += len(subscribers) - before

    def check_unsubscribe(self, topic: str, public_key: bytes, identifier: str) -> None:
        """Rejected if there is no such subscription."""
        if self.get(topic, public_key, identifier) is NONE:
            raise Rejected(f"subscription to {topic} doesn't exist")

    def unsubscribe(self, topic: str, public_key: bytes, identifier: str) -> None:
        """End a subscription."""
        self._remove(topic.lower(), subscriber_hash(public_key, identifier))

    def expire(self, height: int) -> None:
        """End the subscriptions that end with the block of ``height``."""
        ended = [
            (topic, key)
            for topic, subscribers in self._topics.items()
            for key, entry in subscribers.items()
            if entry.expires_at <= height
        ]
        for topic, key in ended:
            self._remove(topic, key)

    def _of(self, topic: str) -> dict[bytes, Subscription]:
        return self._topics.get(topic.lower(), {})

    def _remove(self, topic: str, key: bytes) -> None:
        subscribers = self._topics[topic]
        del subscribers[key]
        self._count -= 1
        if not subscribers:
            del self._topics[topic]
