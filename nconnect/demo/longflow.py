"""A TCP connection through the tunnel that outlives what happens to it: an echo, verified byte by byte.

Run as a program: `python -m nconnect.demo.longflow answer` on the LAN host, `… ask HOST` on the user's
machine. The asker prints how many blocks came back right, and ends with an error at the first that did not.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from collections.abc import Sequence

from nconnect.demo.lab import LAN_HOST, Lab
from nconnect.demo.probe import start_probe
from nconnect.demo.process import Process
from nconnect.errors import NconnectError

PORT = 7008
BLOCK = 16 * 1024
INTERVAL = 0.05
"""Seconds between two blocks: 2.6 Mbit/s each way, so that something is always under way."""
SEED = 20261122


class LongFlow:
    """The two programs in a lab."""

    def __init__(self, asker: Process) -> None:
        self._asker = asker

    @classmethod
    async def start(cls, lab: Lab, host: str = LAN_HOST) -> LongFlow:
        """Start both; returns once the first block has come back from `host`."""
        return cls(await start_probe(lab, "nconnect.demo.longflow", "^right: 1$", host))

    @property
    def blocks(self) -> int:
        """How many blocks have come back right; NconnectError if the connection is over."""
        if self._asker.returncode is not None:
            raise NconnectError(f"the TCP connection did not survive:\n{self._asker.tail()}")
        return int(re.findall(r"^right: (\d+)$", self._asker.output(), re.MULTILINE)[-1])

    async def goes_on(self, seconds: float) -> None:
        """Wait until another block has come back; NconnectError if none does within `seconds`."""
        before, deadline = self.blocks, time.monotonic() + seconds
        while self.blocks == before:
            if time.monotonic() > deadline:
                raise NconnectError(f"the TCP connection stood still for {seconds:g} s")
            await asyncio.sleep(INTERVAL)


async def answer() -> None:
    """Send everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BLOCK):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "0.0.0.0", PORT)
    print("ready", flush=True)
    await server.serve_forever()


async def ask(host: str) -> None:
    """Send blocks and see that each comes back, for ever."""
    reader, writer = await asyncio.open_connection(host, PORT)

    async def send() -> None:
        choice = random.Random(SEED)
        while True:
            writer.write(choice.randbytes(BLOCK))
            await writer.drain()
            await asyncio.sleep(INTERVAL)

    sending = asyncio.create_task(send())
    expected = random.Random(SEED)
    right = 0
    while await reader.readexactly(BLOCK) == expected.randbytes(BLOCK):
        right += 1
        print(f"right: {right}", flush=True)
    sending.cancel()
    raise SystemExit(f"block {right} came back wrong")


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["answer"]:
            asyncio.run(answer())
        case ["ask", host]:
            asyncio.run(ask(host))
        case _:
            raise SystemExit("usage: longflow answer | ask HOST")


if __name__ == "__main__":
    main(sys.argv[1:])
