"""A seed that answers nonsense, a different one at each path: `bad_seed.py HOST PORT`; prints `ready`."""

from __future__ import annotations

import asyncio
import sys
from urllib.parse import urlsplit

NODE = b'{"addr": "192.0.2.1:9", "pubkey": "%s", "id": "%s"}' % (b"11" * 32, b"22" * 32)


def http(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body)


ANSWERS = {
    "/binary": bytes(range(256)) * 10,
    "/nothing": b"",
    "/html": http(b"<html><body>It works!</body></html>"),
    "/error": http(b"oops", b"500 Internal Server Error"),
    "/redirect": b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1:30003/\r\nContent-Length: 0\r\n\r\n",
    "/shape": http(b'{"jsonrpc": "2.0", "id": 1, "result": ["no", "node"]}'),
    "/refusal": http(b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -42002, "message": "no\\u001b[2J"}}'),
    "/deep": http(b"[" * 60_000),
    "/cut": http(b'{"jsonrpc": "2.0", "result": {"addr":')[:-5],
    "/dead-node": http(b'{"jsonrpc": "2.0", "id": 1, "result": %s}' % NODE),
}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    target = (await reader.readline()).split()[1].decode()
    writer.write(ANSWERS[urlsplit(target).path])
    await writer.drain()
    writer.close()


async def main(host: str, port: str) -> None:
    server = await asyncio.start_server(answer, host, int(port))
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
