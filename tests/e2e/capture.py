"""All that passes through a namespace: `capture.py FILE` writes every frame to FILE.

Prints `ready`; told to end (SIGTERM), how many frames there were, and how many it missed.
"""

from __future__ import annotations

import signal
import socket
import struct
import sys
from pathlib import Path

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
BUFFER = 64 << 20
MAX_FRAME = 1 << 18
BETWEEN = b"\0<frame>\0"
"""So that the end of one frame and the beginning of the next do not make something together."""


def main(path: Path) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    frames = 0
    # A packet socket that is not bound to an interface hears all of them.
    everything = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with path.open("wb") as file, everything as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.settimeout(0.1)
        print("ready", flush=True)
        while not stopped:
            try:
                file.write(sock.recv(MAX_FRAME) + BETWEEN)
                frames += 1
            except TimeoutError:
                continue
        _, missed = struct.unpack("II", sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    print(f"{frames} frames, {missed} missed", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
