"""`python -m nconnect` is the command `nconnect`."""

from __future__ import annotations

import gc
import sys

INTERRUPTED = 130
"""What shells return for a command that Ctrl-C ended: 128 + SIGINT."""

GARBAGE_THRESHOLD = 20_000
"""Objects that are made before a look for garbage, instead of 700: what loading makes is there to stay, and
the looks at it would be a tenth of its time. Cycles of so many take some megabytes."""


def main() -> None:
    """Load the command line and run it; Ctrl-C while it loads is no reason for a traceback."""
    try:
        gc.set_threshold(GARBAGE_THRESHOLD)
        from nconnect.cli.main import run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # All that the process has ends with it: Python's last look for garbage would be a tenth of the
        # time of a short command.
        gc.freeze()


if __name__ == "__main__":
    main()
