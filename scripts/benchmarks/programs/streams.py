"""A TCP stream from each of many namespaces to one receiver, by two processes however many there are.

A sender and a receiver of iperf3 for each user would take more of the machine than what they measure.

::

    python -m scripts.benchmarks.programs.streams receive PORT COUNT SECONDS     prints JSON
    python -m scripts.benchmarks.programs.streams send HOST PORT NAMESPACE...    until the receiver hangs up
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import cast

from pyroute2 import netns

CHUNK = 1 << 20
# The streams start, and share what there is, before the bytes are counted.
WARM_UP_SECONDS = 2.0
# So that a stream whose peer went away does not last for ever.
CONNECT_TIMEOUT = 30.0


def receive(port: int, count: int, seconds: float) -> None:
    """Take `count` streams; print the bytes of each after `WARM_UP_SECONDS`, and of all together ever."""
    with socket.create_server(("", port), backlog=count) as server:
        print("listening", flush=True)
        streams = [server.accept()[0] for _ in range(count)]
    buffer = bytearray(CHUNK)
    counts = dict.fromkeys(streams, 0)
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            stream.setblocking(False)
            selector.register(stream, selectors.EVENT_READ)
        start = time.monotonic() + WARM_UP_SECONDS
        before: dict[socket.socket, int] | None = None
        while (now := time.monotonic()) < start + seconds:
            if before is None and now >= start:
                before = dict(counts)
                start = now
            for key, _ in selector.select(0.1):
                stream = cast(socket.socket, key.fileobj)
                counts[stream] += stream.recv_into(buffer)
        took = time.monotonic() - start
    before = before or counts
    sizes = [counts[stream] - before[stream] for stream in streams]
    print(json.dumps({"seconds": took, "bytes": sizes, "total": sum(counts.values())}), flush=True)


def send(host: str, port: int, namespaces: list[str]) -> None:
    streams = [_connect(host, port, namespace) for namespace in namespaces]
    chunk = memoryview(bytes(CHUNK))
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select():
                stream = cast(socket.socket, key.fileobj)
                try:
                    stream.send(chunk)
                except (BrokenPipeError, ConnectionResetError):
                    selector.unregister(stream)


def _connect(host: str, port: int, namespace: str) -> socket.socket:
    """A socket stays in the namespace in which it was made."""
    netns.pushns(namespace)
    try:
        stream = socket.create_connection((host, port), CONNECT_TIMEOUT)
    finally:
        netns.popns()
    stream.setblocking(False)
    return stream


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        send(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
