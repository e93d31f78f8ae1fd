"""A heartbeat through the tunnel: small datagrams, each of which the LAN host answers, and when each was.

Run as a program: `python -m nconnect.demo.heartbeat answer` on the LAN host, `… ask HOST` on the user's
machine. The asker prints a line for each answer: when its question was sent and when the answer came, in
seconds of the monotonic clock, which all namespaces of a machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from nconnect.demo.lab import Lab
from nconnect.demo.probe import start_probe
from nconnect.demo.process import Process
from nconnect.errors import NconnectError

PORT = 7007
INTERVAL = 0.02
"""Seconds between two questions: a stall is known to a fiftieth of a second, at 50 packets a second."""

_TIME = struct.Struct("<d")


@dataclass(frozen=True)
class Beat:
    """A question and its answer, in seconds of the monotonic clock."""

    asked: float
    answered: float


class Heartbeat:
    """The two programs in a lab, and what they saw."""

    def __init__(self, asker: Process) -> None:
        self._asker = asker

    @classmethod
    async def start(cls, lab: Lab) -> Heartbeat:
        """Start both; returns once the first answer has come."""
        return cls(await start_probe(lab, "nconnect.demo.heartbeat", r"^[\d.]+ [\d.]+$"))

    def beats(self) -> list[Beat]:
        """All answers until now, in the order in which they came."""
        lines = self._asker.output().rpartition("\n")[0].splitlines()
        return [Beat(*map(float, line.split())) for line in lines]

    async def beat_after(self, moment: float, seconds: float) -> Beat:
        """The first answer to a question asked after `moment`.

        NconnectError if there is none within `seconds` of now.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for beat in self.beats():
                if beat.asked >= moment:
                    return beat
            await asyncio.sleep(INTERVAL)
        raise NconnectError(f"nothing came through the tunnel for {seconds:g} s")

    def longest_stall(self, start: float, end: float) -> float:
        """Seconds of the longest time between `start` and `end` in which no answer came."""
        moments = [start, *(beat.answered for beat in self.beats() if start <= beat.answered <= end), end]
        return max(later - earlier for earlier, later in itertools.pairwise(moments))


def answer() -> None:
    """Send everything back to where it came from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", PORT))
        print("ready", flush=True)
        while True:
            data, sender = server.recvfrom(2048)
            server.sendto(data, sender)


def ask(host: str) -> None:
    """Ask for ever; a network that is down now may be up for the next question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        due = time.monotonic()
        while True:
            due = max(due + INTERVAL, time.monotonic())
            with contextlib.suppress(OSError):
                client.sendto(_TIME.pack(time.monotonic()), (host, PORT))
            while (left := due - time.monotonic()) > 0:
                if not select.select([client], [], [], left)[0]:
                    break
                with contextlib.suppress(OSError):
                    asked = _TIME.unpack(client.recv(2048))[0]
                    print(f"{asked:.6f} {time.monotonic():.6f}", flush=True)


def main(arguments: Sequence[str]) -> None:
    match arguments:
        case ["answer"]:
            answer()
        case ["ask", host]:
            ask(host)
        case _:
            raise SystemExit("usage: heartbeat answer | ask HOST")


if __name__ == "__main__":
    main(sys.argv[1:])
