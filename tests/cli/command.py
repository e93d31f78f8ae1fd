"""The real command in a process of its own, with all its places in a directory of the test's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

NOBODY = 65534
SECONDS = 60.0

# Command lines that are right so far.
KEY = "d0fa84240cea3ddfd165f11298b300d2856987ee58a61e2303c41d5d3ddbfd82"
UP = ("up", "--peer", KEY)
SERVE = ("serve", "--lan", "192.168.77.0/24")
ALLOW = ("allow", KEY)
SOCKS = ("socks", "--peer", KEY)
TUNNEL = ("tunnel", "--from", "127.0.0.1:8081")

# Becomes nobody only after all is loaded (a first run loads what is loaded late): nobody may not be allowed
# to read the interpreter or the program.
AS_NOBODY = f"""
import contextlib, encodings.idna, importlib, io, os, sys
from nconnect.cli.main import run
tunnel = ("tunnel.identity", "tunnel.instance", "host.state", "nkn.keys", "demo.demo")
for name in (*tunnel, "cli.running", "forward.provider", "forward.socks", "forward.tunnel"):
    importlib.import_module("nconnect." + name)
argv, sys.argv = sys.argv, ["nconnect", "up", "--peer", "x"]
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    run()
sys.argv = argv
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
run()
"""


@dataclass(frozen=True)
class Command:
    """`nconnect` as somebody with `directory` for all files would run it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def runtime(self) -> Path:
        return self.directory / "run"

    def environ(self) -> dict[str, str]:
        """Nothing of the machine's own settings; and a network that nobody answers for."""
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("NCONNECT_")}
        return {
            **inherited,
            "NCONNECT_CONFIG": str(self.config),
            "NCONNECT_STATE_DIR": str(self.state),
            "NCONNECT_RUNTIME_DIR": str(self.runtime),
            "NCONNECT_SEED_RPC": "http://127.0.0.1:9",
            **self.environment,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`nconnect <arguments>` to its end."""
        return self._run([sys.executable, "-m", "nconnect", *arguments])

    def run_as_nobody(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The same without any right; as who runs the tests if that is not root."""
        if os.geteuid() != 0:
            return self.run(*arguments)
        return self._run([sys.executable, "-c", AS_NOBODY, *arguments])

    def files(self) -> list[str]:
        """All that is in the directory."""
        return sorted(str(path.relative_to(self.directory)) for path in self.directory.rglob("*"))

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


def check_failure(answer: subprocess.CompletedProcess[str], code: int, pattern: str) -> None:
    """One line (or two) of ours that says what is wrong, and nothing else."""
    assert answer.returncode == code, answer.stderr
    lines = answer.stderr.splitlines()
    assert "Traceback" not in answer.stderr
    assert "internal error" not in answer.stderr
    assert 1 <= len(lines) <= 2, answer.stderr
    assert lines[0].startswith("nconnect: "), answer.stderr
    assert re.search(pattern, answer.stderr), answer.stderr
    assert answer.stdout == ""
