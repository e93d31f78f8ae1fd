"""Who has how many tokens, and the number of each account's next transaction.

An account is a program hash (20 bytes) and amounts are units of 10⁻⁸ NKN. Nobody mines here: fees vanish,
and instead every account is born with what the faucet gives.
"""

from __future__ import annotations

from collections.abc import Mapping

from nconnect.devnet.rejected import Rejected

# Accounts that sent or got something, some 300 bytes each; the others need no memory.
MAX_ACCOUNTS = 65_536


class Accounts:
    """Balances and nonces."""

    __slots__ = ("_balances", "_faucet", "_nonces")

    def __init__(self, balances: Mapping[bytes, int], faucet: int) -> None:
        self._faucet = faucet
        self._balances = dict(balances)
        self._nonces: dict[bytes, int] = {}

    def balance(self, account: bytes) -> int:
        """Units that an account has."""
        return self._balances.get(account, self._faucet)

    def nonce(self, account: bytes) -> int:
        """What the next transaction of an account must have."""
        return self._nonces.get(account, 0)

    def check(self, account: bytes, amount: int, *others: bytes) -> None:
        """Rejected unless an account has ``amount``, and there is room to remember it and ``others``."""
        if self.balance(account) < amount:
            raise Rejected("not sufficient funds")
        new = {account, *others} - self._balances.keys()
        if new and len(self._balances) + len(new) > MAX_ACCOUNTS:
            raise Rejected(f"this devnet remembers {MAX_ACCOUNTS} accounts: restart it")

    def add(self, account: bytes, amount: int) -> None:
        """Give tokens, or take them if negative; `check` has been called."""
        self._balances[account] = self.balance(account) + amount

    def count(self, account: bytes) -> None:
        """A transaction of this account has been taken."""
        self._nonces[account] = self.nonce(account) + 1
