"""A program that gives up its capabilities; prints its status and that of a program that it starts.

Usage: `python -m tests.host.given_up [USER]`; with USER it becomes that user.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from nconnect.host.privileges import CAP_NET_ADMIN, become, keep_only


def fields(text: str) -> dict[str, str]:
    """The lines of a /proc/PID/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def main() -> None:
    if len(sys.argv) > 1:
        user = int(sys.argv[1])
        become(user, user, CAP_NET_ADMIN)
    else:
        keep_only(CAP_NET_ADMIN)
    own = Path("/proc/self/status").read_text()
    started = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    print(json.dumps([fields(own), fields(started)]))


if __name__ == "__main__":
    main()
