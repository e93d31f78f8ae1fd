"""The other end of the end-to-end tests, in the LAN: a digest, a source and an echo, over TCP and UDP.

Prints `ready` when it listens. Ports, for IPv4 and IPv6 alike:

7001/tcp  reads to the end, answers with the SHA-256 of what came
7002/tcp  reads a line `SIZE SEED`, sends SIZE bytes of Random(SEED)
7003/tcp  echoes each line, and names the address that it sees
7004/udp  echoes each datagram
7005/tcp  names the largest segment that it may send, and ends
7006/udp  answers half a second later, twice, and prints what became of that
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket

CHUNK = 1 << 18
LATE_PORT = 7006
LATE_SECONDS = 0.5


async def digest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    hasher = hashlib.sha256()
    while chunk := await reader.read(CHUNK):
        hasher.update(chunk)
    writer.write(hasher.hexdigest().encode())
    await writer.drain()
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size, seed = map(int, (await reader.readline()).split())
    choice = random.Random(seed)
    while size:
        chunk = choice.randbytes(min(size, CHUNK))
        writer.write(chunk)
        await writer.drain()
        size -= len(chunk)
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("peername")[0]
    while line := await reader.readline():
        writer.write(peer.encode() + b" " + line)
        await writer.drain()
    writer.close()


async def segment(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    writer.write(b"%d" % sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
    writer.close()


class UdpEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, address: object) -> None:
        self._transport.sendto(data, address)  # type: ignore[arg-type]


class LateAnswer(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._answering = asyncio.create_task(answer_late(*address[:2]))


async def answer_late(host: str, port: int) -> None:
    with udp_socket(socket.AF_INET6 if ":" in host else socket.AF_INET, LATE_PORT) as sock:
        sock.connect((host, port))
        await asyncio.sleep(LATE_SECONDS)
        sock.send(b"late")
        await asyncio.sleep(LATE_SECONDS)
        try:
            sock.send(b"later")
            print(f"answered {host} twice", flush=True)
        except ConnectionRefusedError:
            # What the first answer met.
            print(f"refused by {host}", flush=True)


def udp_socket(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    return sock


async def main() -> None:
    for port, handler in ((7001, digest), (7002, source), (7003, echo), (7005, segment)):
        await asyncio.start_server(handler, None, port, backlog=512)
    loop = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6):
        await loop.create_datagram_endpoint(UdpEcho, sock=udp_socket(family, 7004))
        await loop.create_datagram_endpoint(LateAnswer, sock=udp_socket(family, LATE_PORT))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
