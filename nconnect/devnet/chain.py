"""The little of a blockchain that clients see: a height, and a hash for each block."""

from __future__ import annotations

import hashlib

# nknd config.SigChainBlockDelay: signature chains name the block before the latest, which every node has.
SIG_CHAIN_BLOCK_DELAY = 1


class Chain:
    """Blocks that hold nothing. `advance` makes the next one; the hashes follow from the seed."""

    __slots__ = ("_seed", "height")

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.height = SIG_CHAIN_BLOCK_DELAY

    def advance(self) -> None:
        """Make the next block."""
        self.height += 1

    @property
    def block_hash(self) -> bytes:
        """The latest block's hash, 32 bytes."""
        return self._hash(self.height)

    @property
    def sig_chain_block_hash(self) -> bytes:
        """The hash that clients put into their outbound messages, 32 bytes."""
        return self._hash(self.height - SIG_CHAIN_BLOCK_DELAY)

    def _hash(self, height: int) -> bytes:
        return hashlib.sha256(f"nconnect devnet block {self._seed} {height}".encode()).digest()
