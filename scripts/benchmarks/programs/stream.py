"""One TCP stream whose receiver says how long nothing came at most.

::

    python -m scripts.benchmarks.programs.stream receive PORT            prints JSON when the sender has gone
    python -m scripts.benchmarks.programs.stream send HOST PORT SECONDS
"""

from __future__ import annotations

import json
import socket
import sys
import time

CHUNK = 1 << 16
# Until then the stream starts, which has pauses of its own.
START_SECONDS = 1.0


def receive(port: int) -> None:
    with socket.create_server(("", port)) as server:
        print("listening", flush=True)
        connection, _ = server.accept()
    with connection:
        start = last = time.monotonic()
        total, stall = 0, 0.0
        while data := connection.recv(CHUNK):
            now = time.monotonic()
            if last - start > START_SECONDS:
                stall = max(stall, now - last)
            last = now
            total += len(data)
    print(json.dumps({"bytes": total, "seconds": last - start, "longest_stall": stall}), flush=True)


def send(host: str, port: int, seconds: float) -> None:
    chunk = bytes(CHUNK)
    end = time.monotonic() + seconds
    with socket.create_connection((host, port)) as connection:
        while time.monotonic() < end:
            connection.sendall(chunk)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(int(sys.argv[2]))
    else:
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
