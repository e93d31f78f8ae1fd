"""Where files are, for this user; the environment may say otherwise.

============  ==============================  ===================================  =====================
what          as root                         as another user                      environment
============  ==============================  ===================================  =====================
config        /etc/nconnect/config.toml       $XDG_CONFIG_HOME/nconnect/…          NCONNECT_CONFIG
state         /var/lib/nconnect (0700)        $XDG_STATE_HOME/nconnect             NCONNECT_STATE_DIR
runtime       /run/nconnect (0700)            $XDG_RUNTIME_DIR/nconnect            NCONNECT_RUNTIME_DIR
============  ==============================  ===================================  =====================

The current directory is never read or written.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

JOURNAL_SUFFIX = ".journal"


class Places(NamedTuple):
    """Where this user's files are."""

    config: Path
    state: Path
    """Identity, leases, journals: survives a reboot."""
    runtime: Path
    """Control sockets and locks: gone after a reboot."""

    @property
    def policy(self) -> Path:
        """Who may reach what, as `nconnect.permission.policy_file` reads it."""
        return self.config.with_name("policy.toml")

    @property
    def journals(self) -> Path:
        """Journals of changes to the host, one a running instance."""
        return self.state / "journal"

    def journal(self, name: str) -> Path:
        """The journal of the instance of that name."""
        return self.journals / f"{name}{JOURNAL_SUFFIX}"

    def addresses(self, name: str) -> Path:
        """What names of seeds and relays meant last, for the instance of that name."""
        return self.state / "addresses" / f"{name}.json"

    def closed(self, name: str) -> Path:
        """What the kill switch of the instance of that name closes before it is connected."""
        return self.state / "closed" / f"{name}.json"

    def environment(self) -> dict[str, str]:
        """The variables with which `places` returns these."""
        return {
            "NCONNECT_CONFIG": str(self.config),
            "NCONNECT_STATE_DIR": str(self.state),
            "NCONNECT_RUNTIME_DIR": str(self.runtime),
        }


def places(environment: Mapping[str, str] = os.environ, *, root: bool | None = None) -> Places:
    """The places for this user; `NCONNECT_*` in the environment wins."""
    if root is None:
        root = os.geteuid() == 0
    if root:
        default = Places(Path("/etc/nconnect/config.toml"), Path("/var/lib/nconnect"), Path("/run/nconnect"))
    else:
        home = Path(environment.get("HOME") or "~").expanduser()
        state = Path(environment.get("XDG_STATE_HOME") or home / ".local/state") / "nconnect"
        runtime = environment.get("XDG_RUNTIME_DIR")
        default = Places(
            Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "nconnect/config.toml",
            state,
            Path(runtime) / "nconnect" if runtime else state / "run",
        )
    # A relative one is meant from where the command was typed; the background has another directory.
    return Places(
        Path(environment.get("NCONNECT_CONFIG") or default.config).absolute(),
        Path(environment.get("NCONNECT_STATE_DIR") or default.state).absolute(),
        Path(environment.get("NCONNECT_RUNTIME_DIR") or default.runtime).absolute(),
    )
