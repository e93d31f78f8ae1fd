"""Starts `nconnect up` again and again without loading it again: each is a fork of this process.

Of a start's half second of computing and 60 MB nearly all is Python's modules, which the machines of a
hundred users each pay at home. From the fork on it is the real command, in a namespace and with directories
of its own.

::

    python -m scripts.benchmarks.programs.users ADDRESS

Takes lines "NAMESPACE DIRECTORY", prints a process ID for each; ends at the end of its input.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pyroute2 import netns

from nconnect.cli import main, running, status, up
from nconnect.demo.home import environment
from nconnect.tunnel import connector

# Loaded by `up` only when it runs; named here so that it is done before the first fork.
LOADED = (running, status, up, connector)


def become(namespace: str, home: Path, address: str) -> None:
    """Be one user, in the child, until a signal ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    log = os.open(home / "up.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for descriptor, copy in ((null, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, copy)
    netns.setns(namespace)
    os.environ |= environment(home)
    sys.argv = ["nconnect", "up", "--peer", address]
    main.run()


if __name__ == "__main__":
    # Children that end are nobody's to wait for.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        namespace, home = line.split()
        if child := os.fork():
            print(child, flush=True)
        else:
            become(namespace, Path(home), sys.argv[1])
