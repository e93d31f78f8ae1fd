"""One end of a VPN without secrets: `vpn.py INTERFACE LOCAL PEER` carries its packets by UDP, port 7010.

It cuts nothing: a packet larger than the interface's MTU is the kernel's business. Prints `ready`.
"""

from __future__ import annotations

import os
import select
import socket
import sys

import pytun

PORT = 7010
MAX_PACKET = 1 << 16


def main(interface: str, local: str, peer: str) -> None:
    device = pytun.TunTapDevice(name=interface, flags=pytun.IFF_TUN | pytun.IFF_NO_PI)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((local, PORT))
        sock.connect((peer, PORT))
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([device.fileno(), sock], [], [])
            try:
                if sock in readable:
                    os.write(device.fileno(), sock.recv(MAX_PACKET))
                else:
                    sock.send(os.read(device.fileno(), MAX_PACKET))
            except OSError:
                continue  # the other end is not there yet, or a device is not up


if __name__ == "__main__":
    main(*sys.argv[1:])
