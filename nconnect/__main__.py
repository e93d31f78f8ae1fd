"""`python -m nconnect` is the command `nconnect`."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""What shells return for a command that Ctrl-C ended: 128 + SIGINT."""


def main() -> None:
    """Load the command line and run it; Ctrl-C while it loads is no reason for a traceback."""
    try:
        from nconnect.cli.main import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
