"""The user's end of the matrix of grants without a TUN device: `socks_matrix.py PROXY_PORT HOST…`.

Connects to both ports of each HOST through the SOCKS5 proxy, over TCP and UDP; prints JSON, for each host a
letter a cell: o for open, r for "not allowed", x for another refusal, - for nothing.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from ipaddress import ip_address

PORTS = (7011, 7012)
ANSWER_SECONDS = 4.0
GREETING = b"\x05\x01\x00"
CONNECT, ASSOCIATE = 1, 3
SUCCEEDED, NOT_ALLOWED = 0, 2


def socks_address(host: str, port: int) -> bytes:
    """Type, address and port, as RFC 1928 has them."""
    address = ip_address(host)
    return bytes([1 if address.version == 4 else 4]) + address.packed + port.to_bytes(2)


async def ask(
    proxy: int, command: int, where: bytes
) -> tuple[int, bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """The proxy's reply, the address in it, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(GREETING + bytes([5, command, 0]) + where)
    await reader.readexactly(2)
    _, reply, _, kind = await reader.readexactly(4)
    return reply, await reader.readexactly((4 if kind == 1 else 16) + 2), reader, writer


async def stream(proxy: int, host: str, port: int) -> str:
    reply, _, reader, writer = await ask(proxy, CONNECT, socks_address(host, port))
    try:
        if reply != SUCCEEDED:
            return "r" if reply == NOT_ALLOWED else "x"
        writer.write(b"hello")
        return "o" if await reader.read(100) == b"hello" else "-"
    finally:
        writer.close()


async def datagram(proxy: int, host: str, port: int) -> str:
    reply, relay, _, writer = await ask(proxy, ASSOCIATE, socks_address("0.0.0.0", 0))
    try:
        if reply != SUCCEEDED:
            return "x"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect((socket.inet_ntoa(relay[:4]), int.from_bytes(relay[4:])))
            said = bytes(3) + socks_address(host, port) + b"hello"
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, said)
            return "o" if await loop.sock_recv(sock, 100) == said else "-"
    finally:
        writer.close()


async def cell(proxy: int, over: object, host: str, port: int) -> str:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await (stream if over == "tcp" else datagram)(proxy, host, port)
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return "-"


async def main(proxy: str, *hosts: str) -> str:
    cells = [
        cell(int(proxy), over, host, port) for host in hosts for over in ("tcp", "udp") for port in PORTS
    ]
    letters = "".join(await asyncio.gather(*cells))
    return json.dumps({host: letters[4 * i : 4 * i + 4] for i, host in enumerate(hosts)})


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:])))
