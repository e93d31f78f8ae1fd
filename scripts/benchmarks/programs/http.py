"""Short HTTP requests, a TCP connection for each: how many a second.

::

    python -m scripts.benchmarks.programs.http serve PORT                says "listening"
    python -m scripts.benchmarks.programs.http ask HOST PORT SECONDS     prints the answers a second
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

# Connections under way at a time: what two browsers have.
AT_ONCE = 12
REQUEST = b"GET / HTTP/1.0\r\nHost: bench\r\n\r\n"
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"


class Server(asyncio.Protocol):
    """Answers the first packet, which holds the whole request, and hangs up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER)
        self._transport.close()


class Asker(asyncio.Protocol):
    """One request; `done` has what came once the server has hung up."""

    def __init__(self) -> None:
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._answer += data

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set_result(self._answer)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Server, "0.0.0.0", port, backlog=1024)
    print("listening", flush=True)
    await server.serve_forever()


async def ask(host: str, port: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    start = loop.time()
    end = start + seconds
    answers = 0

    async def ask_again_and_again() -> None:
        nonlocal answers
        while loop.time() < end:
            _, asker = await loop.create_connection(Asker, host, port)
            answer = await asker.done
            answers += answer == ANSWER

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask_again_and_again())
    return answers / (loop.time() - start)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(int(sys.argv[2])))
    else:
        print(uvloop.run(ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))))
