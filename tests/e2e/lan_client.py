"""What the user does in the end-to-end tests: `lan_client.py COMMAND HOST …`; prints what came back.

upload HOST SIZE SEED      sends, prints the server's SHA-256
download HOST SIZE SEED    receives, prints the SHA-256
talk HOST COUNT            COUNT connections at once, a line each way on every one; prints how many answered
datagrams HOST SIZE…       one datagram of each size, each sent until echoed; prints the sizes that came back
burst HOST SIZE COUNT      COUNT datagrams in one call, until all are echoed; prints how many were, and
                           how many others came
marked HOST SIZE           sends; prints whether ECN was agreed on, and whether a mark reached the server
hello HOST                 one line each way; prints the address that the server saw
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import random
import socket
import struct
import sys
from collections.abc import Callable, Coroutine

CHUNK = 1 << 18
DATAGRAM_TRIES = 5
DATAGRAM_SECONDS = 2.0

# linux/udp.h, linux/tcp.h
UDP_SEGMENT = 103
TCPI_OPTIONS = 5
TCPI_OPT_ECN = 8
TCPI_DELIVERED_CE = 196
TCP_INFO_SIZE = 200


async def upload(host: str, size: str, seed: str) -> str:
    reader, writer = await asyncio.open_connection(host, 7001)
    choice, left = random.Random(int(seed)), int(size)
    while left:
        chunk = choice.randbytes(min(left, CHUNK))
        writer.write(chunk)
        await writer.drain()
        left -= len(chunk)
    writer.write_eof()
    answer = (await reader.read()).decode()
    writer.close()
    return answer


async def download(host: str, size: str, seed: str) -> str:
    reader, writer = await asyncio.open_connection(host, 7002)
    writer.write(f"{size} {seed}\n".encode())
    hasher = hashlib.sha256()
    while chunk := await reader.read(CHUNK):
        hasher.update(chunk)
    writer.close()
    return hasher.hexdigest()


async def talk(host: str, count: str) -> str:
    everybody = asyncio.Barrier(int(count))

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection(host, 7003)
        await everybody.wait()  # all are open at once
        writer.write(f"{number}\n".encode())
        line = await reader.readline()
        writer.close()
        return line.endswith(f" {number}\n".encode())

    return str(sum(await asyncio.gather(*map(one, range(int(count))))))


async def datagrams(host: str, *sizes: str) -> str:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    echoed = []
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DATAGRAM_SECONDS)
        sock.connect((host, 7004))
        for size in sizes:
            data = random.Random(int(size)).randbytes(int(size))
            for _ in range(DATAGRAM_TRIES):
                try:
                    sock.send(data)
                    if sock.recv(1 << 16) == data:
                        echoed.append(size)
                        break
                except OSError as error:
                    # Too big for the path, which a router has told us; the next one will be cut.
                    if not isinstance(error, TimeoutError) and error.errno != errno.EMSGSIZE:
                        raise
    return " ".join(echoed)


async def burst(host: str, size: str, count: str) -> str:
    choice = random.Random(int(size))
    *payloads, last = (choice.randbytes(int(size)) for _ in range(int(count)))
    payloads.append(last[: int(size) // 2])
    came: set[bytes] = set()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(DATAGRAM_SECONDS)
        sock.connect((host, 7004))
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, int(size))
        for _ in range(DATAGRAM_TRIES):
            sock.send(b"".join(payloads))
            with contextlib.suppress(TimeoutError):
                while not came.issuperset(payloads):
                    came.add(sock.recv(1 << 16))
                break
    return f"{len(came.intersection(payloads))} {len(came.difference(payloads))}"


async def marked(host: str, size: str) -> str:
    reader, writer = await asyncio.open_connection(host, 7001)
    writer.write(bytes(int(size)))
    writer.write_eof()
    await reader.read()
    info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    writer.close()
    (answered,) = struct.unpack_from("=I", info, TCPI_DELIVERED_CE)
    return f"{bool(info[TCPI_OPTIONS] & TCPI_OPT_ECN)} {answered > 0}"


async def hello(host: str) -> str:
    reader, writer = await asyncio.open_connection(host, 7003)
    writer.write(b"hello\n")
    line = (await reader.readline()).decode()
    writer.close()
    return line.split()[0]


if __name__ == "__main__":
    command: dict[str, Callable[..., Coroutine[None, None, str]]] = {
        "upload": upload,
        "download": download,
        "talk": talk,
        "datagrams": datagrams,
        "burst": burst,
        "marked": marked,
        "hello": hello,
    }
    print(asyncio.run(command[sys.argv[1]](*sys.argv[2:])))
