"""Why a transaction is not taken."""

from __future__ import annotations


class Rejected(Exception):
    """The ledger refuses a transaction; the text is what RPC ``sendrawtransaction`` answers as ``data``.

    The words are nknd's (``chain/blockvalidator.go``, ``chain/pool/txpool.go``), which applications look for.
    """
