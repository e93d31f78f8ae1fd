"""A program that sends datagrams through a SOCKS5 proxy: `socks_client.py PROXY_PORT HOST PORT SIZE…`.

Prints the sizes of those that came back as they went.
"""

from __future__ import annotations

import random
import socket
import sys
from ipaddress import ip_address

ASSOCIATE = bytes([5, 3, 0, 1, 0, 0, 0, 0, 0, 0])
TRIES = 5
SECONDS = 2.0


def main(proxy_port: str, host: str, port: str, *sizes: str) -> str:
    control = socket.create_connection(("127.0.0.1", int(proxy_port)))
    control.sendall(b"\x05\x01\x00" + ASSOCIATE)
    answer = b""
    while len(answer) < 12:
        answer += control.recv(12 - len(answer))
    assert answer[:4] == b"\x05\x00\x05\x00", answer
    relay = socket.inet_ntoa(answer[6:10]), int.from_bytes(answer[10:])
    address = ip_address(host)
    header = bytes([0, 0, 0, 1 if address.version == 4 else 4]) + address.packed + int(port).to_bytes(2)
    echoed = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(relay)
        for size in sizes:
            datagram = header + random.Random(int(size)).randbytes(int(size))
            for _ in range(TRIES):
                sock.send(datagram)
                try:
                    if sock.recv(1 << 16) == datagram:
                        echoed.append(size)
                        break
                except TimeoutError:
                    continue
    return " ".join(echoed)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
