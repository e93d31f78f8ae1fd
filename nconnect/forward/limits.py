"""How many sockets this process may have."""

from __future__ import annotations

import contextlib
import resource


def raise_file_limit() -> None:
    """Have as many sockets as this process may; the usual soft limit of 1024 is for users of select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
