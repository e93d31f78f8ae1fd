"""What the kernel tells by netlink to whoever listens: many messages are one report.

Sources: netlink(7).
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from nconnect.host.privileges import host_error

QUIET_SECONDS = 1.0
"""Between two reports: who learns thousands of routes or loads thousands of rules must not keep us busy."""
DATAGRAM_SIZE = 1 << 16


class Notices:
    """Calls `report` once something came that counts: `settle` seconds later, for what comes with it.

    `groups` are bits of multicast groups of the netlink `protocol`; `counts` is asked about each datagram.
    `subject` is what an error says that could not be listened to.
    """

    def __init__(
        self,
        protocol: int,
        groups: int,
        report: Callable[[], None],
        *,
        subject: str,
        settle: float = 0.0,
        counts: Callable[[bytes], bool] = bool,
    ) -> None:
        self._counts = counts
        self._settle = settle
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._reported = -QUIET_SECONDS
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        try:
            self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
            self._socket.bind((0, groups))
        except OSError as error:
            raise host_error(error, f"listen for changes of {subject}") from error
        self._loop.add_reader(self._socket, self._on_readable)

    def close(self) -> None:
        """Listen no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    def _on_readable(self) -> None:
        happened = False
        try:
            while datagram := self._socket.recv(DATAGRAM_SIZE):
                happened |= self._counts(datagram)
        except OSError as error:
            # ENOBUFS: more happened than the socket holds, whatever it was.
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                raise
            happened |= error.errno == errno.ENOBUFS
        if happened and self._timer is None:
            soon = self._loop.time() + self._settle
            self._timer = self._loop.call_at(max(soon, self._reported + QUIET_SECONDS), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._reported = self._loop.time()
        self._report()
