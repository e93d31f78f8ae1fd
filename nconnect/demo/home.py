"""The directories of one `nconnect` among several on a machine: its state, its sockets, its configuration."""

from __future__ import annotations

from pathlib import Path


def make_home(home: Path) -> None:
    """Make the directories, and an empty configuration, for nobody else to read."""
    for name in ("state", "run"):
        (home / name).mkdir(parents=True, mode=0o700)
    (home / "config.toml").touch(mode=0o600)


def environment(home: Path) -> dict[str, str]:
    """What tells `nconnect` to use them."""
    return {
        "NCONNECT_STATE_DIR": str(home / "state"),
        "NCONNECT_RUNTIME_DIR": str(home / "run"),
        "NCONNECT_CONFIG": str(home / "config.toml"),
    }
