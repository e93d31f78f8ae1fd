"""One HTTP request: a POST, and its answer up to a limit. The protocol is h11's (RFC 9112).

A connection for each: calls are rare, and one that is kept would be found closed by the seed more often than
not.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from urllib.parse import urlsplit

import h11

from nconnect.errors import DecodeError
from nconnect.nkn.tcp import connect_tcp

READ_SIZE = 64 * 1024
# Bytes of status line and headers; servers send some hundred.
MAX_HEAD_SIZE = 16 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of an HTTP URL."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


async def post(url: str, body: bytes, *, content_type: str, limit: int, mark: int = 0) -> bytes:
    """The body of the answer, of at most `limit` bytes. `mark`: of the socket (SO_MARK).

    DecodeError: no answer in HTTP, another status than 200, or a longer one. OSError: no connection.
    """
    parts = urlsplit(url)
    host, port = endpoint(url)
    reader, writer = await asyncio.open_connection(
        sock=await connect_tcp(host, port, mark),
        ssl=_trusting_the_system() if parts.scheme == "https" else None,
        server_hostname=host if parts.scheme == "https" else None,
    )
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_SIZE)
        request = h11.Request(
            method="POST",
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", parts.netloc.rpartition("@")[2]),
                ("Content-Type", content_type),
                ("Content-Length", str(len(body))),
                ("Connection", "close"),
            ],
        )
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        return await _answer(connection, reader, limit)
    except h11.ProtocolError as error:
        raise DecodeError(f"not an answer in HTTP: {error}") from error
    finally:
        writer.transport.abort()


async def _answer(connection: h11.Connection, reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_SIZE))
        elif isinstance(event, h11.Response) and event.status_code != 200:
            raise DecodeError(f"HTTP status {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise DecodeError(f"an answer of more than {limit} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise DecodeError("the connection was closed without an answer")


@functools.cache
def _trusting_the_system() -> ssl.SSLContext:
    return ssl.create_default_context()
