"""Receipts asked of receivers, which a node needs to finish a message's signature chain.

Source: nknd ``api/websocket/server/relay.go`` (sigChainCache, handleReceipt). A real node asks for a receipt
only where the chain may win a reward; a devnet that verifies signatures asks for all of them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from nconnect.nkn.messages import Receipt, verify_receipt

# nknd waits a minute (ConsensusTimeout); this is a minute at 1,000 messages a second, and bounded.
MAX_AWAITED = 65_536


class Receipts:
    """Which receipts are awaited, and from whom."""

    __slots__ = ("_awaited",)

    def __init__(self) -> None:
        self._awaited: OrderedDict[bytes, bytes] = OrderedDict()

    def ask(self, signature: bytes, public_key: bytes) -> bytes:
        """The ``prev_hash`` (32 bytes) to put into the message that bears ``signature`` to ``public_key``."""
        prev_hash = hashlib.sha256(signature).digest()
        self._awaited[prev_hash] = public_key
        if len(self._awaited) > MAX_AWAITED:
            self._awaited.popitem(last=False)
        return prev_hash

    def accept(self, receipt: Receipt) -> bool:
        """True for a message's first receipt, False for one that is not awaited; CryptoError if forged."""
        public_key = self._awaited.get(receipt.prev_hash)
        if public_key is None:
            return False
        verify_receipt(receipt, public_key)
        del self._awaited[receipt.prev_hash]
        return True
