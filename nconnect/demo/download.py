"""A download through the tunnel, as fast as it goes, for ever, and when something of it came.

Run as a program: `python -m nconnect.demo.download answer` on the LAN host, `… ask HOST` on the user's
machine. The asker prints in the words of the heartbeat: when something came, which nobody asked for before.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence

from nconnect.demo.heartbeat import INTERVAL, Heartbeat
from nconnect.demo.lab import Lab
from nconnect.demo.probe import start_probe

PORT = 7009
CHUNK = 1 << 18


async def start_download(lab: Lab) -> Heartbeat:
    """Start both programs; returns once something has come. The beats are when something did."""
    return Heartbeat(await start_probe(lab, "nconnect.demo.download", r"^[\d.]+ [\d.]+$"))


async def answer() -> None:
    """Send as much as the connection takes."""
    data = os.urandom(CHUNK)

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(data)
            await writer.drain()

    server = await asyncio.start_server(send, "0.0.0.0", PORT)
    print("ready", flush=True)
    await server.serve_forever()


def ask(host: str) -> None:
    """Take what comes, and say so, but no more often than the heartbeat."""
    with socket.create_connection((host, PORT)) as connection:
        said = 0.0
        while connection.recv(CHUNK):
            now = time.monotonic()
            if now > said + INTERVAL:
                print(f"{now:.6f} {now:.6f}", flush=True)
                said = now


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["answer"]:
            asyncio.run(answer())
        case ["ask", host]:
            ask(host)
        case _:
            raise SystemExit("usage: download answer | ask HOST")


if __name__ == "__main__":
    main(sys.argv[1:])
