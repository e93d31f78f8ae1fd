"""Topics: messages to whoever has subscribed.

A subscription is on the block chain; a published message goes from the publisher to each subscriber directly.
Source: nkn-sdk-go ``client.go`` (``publish``).
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Unpack

from nconnect.errors import CryptoError, DecodeError, UsageError
from nconnect.nkn.account import Account, Options
from nconnect.nkn.addresses import Address
from nconnect.nkn.chain import MAX_SUBSCRIBERS
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.messages import Payload, message_payload, new_message_id, public_key_of

logger = logging.getLogger(__name__)

# A seed could answer for ever. To publish, each subscriber costs a signature and some 300 bytes on each path.
MAX_ALL = 65_536
# Subscribers that are dealt with at once, in some 40 ms; in between others have their turn.
CHUNK = 256


class PubSub(ABC):
    """What a client does with topics; `MultiClient` is one."""

    key: KeyPair
    address: str
    account: Account

    async def publish(
        self,
        topic: str,
        data: str | bytes,
        *,
        pool: bool = False,
        offset: int = 0,
        limit: int | None = None,
        max_holding_seconds: int = 0,
        encrypt: bool = True,
    ) -> int:
        """Send a message to a topic's subscribers, who do not answer; to how many it was sent.

        ``pool``, ``offset`` and ``limit`` as with `subscribers`, ``max_holding_seconds`` and ``encrypt`` as
        with `MultiClient.send`.
        """
        payload = message_payload(data, new_message_id(), no_reply=True)
        found = list(await self.subscribers(topic, pool=pool, offset=offset, limit=limit))
        count = 0
        for start in range(0, len(found), CHUNK):
            dests = [address for address in found[start : start + CHUNK] if self._can_seal_for(address)]
            if dests:
                await self._send(dests, payload, encrypt=encrypt, max_holding_seconds=max_holding_seconds)
            count += len(dests)
            await asyncio.sleep(0)
        return count

    async def subscribers(
        self,
        topic: str,
        *,
        meta: bool = False,
        pool: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> dict[str, str]:
        """The addresses that subscribed to a topic, each with its note if ``meta`` is set.

        ``pool`` adds those whose subscription is not in a block yet. ``offset`` and ``limit`` pick a part of
        the others; without ``limit`` there may be `MAX_ALL` of them, and UsageError is raised if there are
        more.
        """
        chain = self.account.chain
        left = MAX_ALL + 1 if limit is None else limit
        found: dict[str, str] = {}
        waiting: dict[str, str] = {}
        complete = False
        while left > 0 and not complete:
            wanted = min(MAX_SUBSCRIBERS, left)
            page = await chain.subscribers(topic, offset=offset, limit=wanted, meta=meta, pool=pool)
            complete = len(page.confirmed) < wanted
            offset, left = offset + wanted, left - wanted
            found |= page.confirmed
            # What waits comes whole with any page.
            waiting, pool = waiting | page.waiting, False
        if limit is None and not complete:
            raise UsageError(f"topic {topic!r} has more than {MAX_ALL} subscribers: take them part by part")
        return waiting | found

    async def subscribe(self, topic: str, duration: int, meta: str = "", **options: Unpack[Options]) -> str:
        """Subscribe this client to a topic for ``duration`` blocks; as `Account.subscribe`."""
        return await self.account.subscribe(topic, duration, self._identifier, meta, **options)

    async def unsubscribe(self, topic: str, **options: Unpack[Options]) -> str:
        """End this client's subscription; as `Account.unsubscribe`."""
        return await self.account.unsubscribe(topic, self._identifier, **options)

    @property
    def _identifier(self) -> str:
        return Address.parse(self.address).identifier

    def _can_seal_for(self, address: str) -> bool:
        """Anybody can subscribe with a key that fits no box; the others must not lose by it."""
        try:
            self.key.shared_key(public_key_of(address))
        except (CryptoError, DecodeError) as error:
            logger.debug("a subscriber is left out: %s", error)
            return False
        return True

    @abstractmethod
    async def _send(
        self, dests: list[str], payload: Payload, *, encrypt: bool, max_holding_seconds: int = 0
    ) -> None:
        """Send one message to several addresses by every path."""
