"""Messages kept for clients that are not there (``max_holding_seconds``).

Source: nknd ``api/websocket/messagebuffer``: bounded in bytes, the oldest goes first, whoever it is for.
(nknd also looks after 10 s whether a client to which it delivered was still alive; here delivered is
delivered.)
"""

from __future__ import annotations

from collections import OrderedDict

# nknd config.defaultClientMsgCacheSize.
MAX_HELD_BYTES = 32 * 1024 * 1024
# Small messages cost several times their size in objects: this many of them stay below 32 MB too.
MAX_HELD_MESSAGES = 65_536


class HeldMessages:
    """Websocket messages by client ID, in the order of arrival, each until its time is over."""

    __slots__ = ("_by_client", "_max_bytes", "_max_messages", "_messages", "_next", "size")

    size: int
    """Bytes held."""

    def __init__(self, max_messages: int = MAX_HELD_MESSAGES, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: OrderedDict[int, tuple[bytes, float, bytes]] = OrderedDict()
        self._by_client: dict[bytes, list[int]] = {}
        self._next = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, client_id: bytes, message: bytes, expires: float) -> int:
        """Hold a message until ``expires``; returns how many older ones had to go for it."""
        self._messages[self._next] = (client_id, expires, message)
        self._by_client.setdefault(client_id, []).append(self._next)
        self._next += 1
        self.size += len(message)
        evicted = 0
        while len(self._messages) > self._max_messages or self.size > self._max_bytes:
            self._remove(next(iter(self._messages)))
            evicted += 1
        return evicted

    def take(self, client_id: bytes, now: float) -> list[bytes]:
        """All that is held for a client and still wanted, oldest first; nothing is held for it afterwards."""
        taken = []
        for number in self._by_client.pop(client_id, ()):
            _, expires, message = self._messages.pop(number)
            self.size -= len(message)
            if expires > now:
                taken.append(message)
        return taken

    def expire(self, now: float) -> int:
        """Forget what has been held for long enough; returns how many messages that were."""
        over = [number for number, (_, expires, _) in self._messages.items() if expires <= now]
        for number in over:
            self._remove(number)
        return len(over)

    def _remove(self, number: int) -> None:
        client_id, _, message = self._messages.pop(number)
        self.size -= len(message)
        numbers = self._by_client[client_id]
        numbers.remove(number)
        if not numbers:
            del self._by_client[client_id]
