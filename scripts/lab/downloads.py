"""An HTTP server for a directory's files that resumes downloads: ``downloads.py ADDRESS PORT DIRECTORY``.

``?rate=N`` asks for at most N bytes/s. The kernel paces them, so there are no bursts; what curl's own
``--limit-rate`` allows for three seconds may come in one.
"""

from __future__ import annotations

import socket
import sys

from aiohttp import web

SO_MAX_PACING_RATE = 47
"""asm-generic/socket.h; bytes/s. TCP keeps to it by itself, whichever the queueing discipline."""


async def pace(request: web.Request, response: web.StreamResponse) -> None:
    """Before an answer begins."""
    rate = request.query.get("rate", "")
    if rate.isdecimal() and request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(rate))


def main() -> None:
    """Serve until a signal."""
    address, port, directory = sys.argv[1:]
    application = web.Application()
    application.router.add_static("/", directory)
    application.on_response_prepare.append(pace)
    web.run_app(
        application,
        host=address,
        port=int(port),
        access_log=None,
        shutdown_timeout=1.0,
        # Called once it listens.
        print=lambda *_: print(f"serving {directory}", flush=True),
    )


if __name__ == "__main__":
    main()
