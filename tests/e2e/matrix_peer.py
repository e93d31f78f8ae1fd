"""Both ends of the matrix of grants: `matrix_peer.py COMMAND …`.

serve ADDRESS…          echoes TCP and UDP at both ports of each address; prints `ready`
try LINK SOURCE HOST…   connects to both ports of each HOST, over TCP and UDP, through LINK, whatever the
                        routes say, from SOURCE (an address of LINK's side; `-`: the kernel's choice);
                        prints JSON, for each host a letter a cell: o for open, r for refused, - for nothing,
                        ! for what this machine itself said
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import cast

PORTS = (7011, 7012)
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
ANSWER_SECONDS = 2.0
# What a reset, and ICMP's and ICMPv6's "administratively prohibited", become.
REFUSALS = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._transport.sendto(data, address)


async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()


async def serve(*addresses: str) -> str:
    loop = asyncio.get_running_loop()
    for address in addresses:
        for port in PORTS:
            await asyncio.start_server(stream, address, port)
            # One socket an address: a wildcard's would answer from whichever the route prefers.
            await loop.create_datagram_endpoint(Datagrams, (address, port))
    print("ready", flush=True)
    await asyncio.Event().wait()
    return ""


async def cell(link: str, source: str, kind: socket.SocketKind, host: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket(family(host), kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sock.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if source != "-":
                    sock.bind((source, 0))
                await loop.sock_connect(sock, (host, port))
                await loop.sock_sendall(sock, b"hello")
                return "o" if await loop.sock_recv(sock, 100) == b"hello" else "-"
        except TimeoutError:
            return "-"
        except OSError as error:
            return "r" if error.errno in REFUSALS else "!"


async def attempt(link: str, source: str, *hosts: str) -> str:
    cells = [cell(link, source, kind, host, port) for host in hosts for kind in KINDS for port in PORTS]
    letters = "".join(await asyncio.gather(*cells))
    return json.dumps({host: letters[4 * i : 4 * i + 4] for i, host in enumerate(hosts)})


if __name__ == "__main__":
    command: dict[str, Callable[..., Coroutine[None, None, str]]] = {"serve": serve, "try": attempt}
    print(asyncio.run(command[sys.argv[1]](*sys.argv[2:])))
