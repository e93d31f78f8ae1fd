"""Telling systemd how it is: a datagram to the socket that $NOTIFY_SOCKET names, if it started us.

Source: sd_notify(3); systemd.service(5), Type=notify.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

SOCKET = "NOTIFY_SOCKET"


def ready() -> None:
    """The service works; also after `reloading`."""
    _send("READY=1")


def reloading() -> None:
    """The configuration is being read again; `ready` follows."""
    _send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """The service is about to end."""
    _send("STOPPING=1")


def status(line: str) -> None:
    """What `systemctl status` shows."""
    _send("STATUS=" + line.replace("\n", " "))


def _send(*assignments: str) -> None:
    path = os.environ.get(SOCKET, "")
    if not path:
        return
    if path.startswith("@"):
        path = "\0" + path[1:]  # unix(7): an abstract name
    # Whoever gave us the name may have gone, which is no reason to end as well.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(assignments).encode(), path)
