"""An HTTP server for a directory's files that resumes downloads: ``downloads.py ADDRESS PORT DIRECTORY``."""

from __future__ import annotations

import sys

from aiohttp import web


def main() -> None:
    """Serve until a signal."""
    address, port, directory = sys.argv[1:]
    application = web.Application()
    application.router.add_static("/", directory)
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
