"""Files that are for their owner's eyes only."""

from __future__ import annotations

import stat
from pathlib import Path

from nconnect.errors import ConfigError


def check_private(mode: int, path: Path | str, what: str) -> None:
    """See that nobody else may read a file of this mode; `what` ends "PATH …", such as "holds a secret".

    Raises:
        ConfigError: others may; the message says what to run.
    """
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} {what} and others may read it; run: chmod 600 {path}")
