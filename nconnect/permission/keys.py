"""How people write whose key they mean."""

from __future__ import annotations

import re

from nconnect.errors import UsageError
from nconnect.nkn.addresses import Address

MAX_TOLD = 80
"""Characters of a wrong name that are shown."""
MAX_NAME = 63
"""Characters of a user's name: one less than a key has, so that none looks like a key."""
_NAME = re.compile(rf"\w[\w.@+-]{{0,{MAX_NAME - 1}}}")


def parse_key(text: str) -> bytes:
    """The 32-byte public key in `text`: 64 hex digits, or an NKN address, whose identifier does not matter.

    Raises:
        AddressError: it is neither.
    """
    return Address.parse(text).public_key


def check_name(name: str) -> str:
    """`name` if a user may have it: it is shown in logs, typed in commands, and never looks like a key.

    Raises:
        UsageError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:MAX_TOLD]!r} is not a name for a user, as laptop is: letters, digits, . _ @ + and -, "
            f"the first of them a letter or digit, {MAX_NAME} at most"
        )
    return name
