"""What the user does in the end-to-end tests: `lan_client.py COMMAND HOST …`; prints what came back.

upload HOST SIZE SEED      sends, prints the server's SHA-256
download HOST SIZE SEED    receives, prints the SHA-256
talk HOST COUNT            COUNT connections at once, a line each way on every one; prints how many answered
datagrams HOST SIZE…       one datagram of each size, each sent until echoed; prints the sizes that came back
hello HOST                 one line each way; prints the address that the server saw
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import random
import socket
import sys
from collections.abc import Callable, Coroutine

CHUNK = 1 << 18
DATAGRAM_TRIES = 5
DATAGRAM_SECONDS = 2.0


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
        "hello": hello,
    }
    print(asyncio.run(command[sys.argv[1]](*sys.argv[2:])))
