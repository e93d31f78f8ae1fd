"""Asks the echo server of the LAN again and again over one connection, and prints when each answer came.

`echo_client.py HOST [PROXY_PORT]`: directly, or through a SOCKS5 proxy on loopback.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from ipaddress import ip_address

PORT = 7003
INTERVAL = 0.02


def through_proxy(port: int, host: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(b"\x05\x01\x00")
    assert connection.recv(2) == b"\x05\x00"
    address = ip_address(host)
    kind = 1 if address.version == 4 else 4
    connection.sendall(bytes([5, 1, 0, kind]) + address.packed + struct.pack("!H", PORT))
    assert connection.recv(10)[1] == 0
    return connection


def main() -> None:
    host = sys.argv[1]
    connection = (
        through_proxy(int(sys.argv[2]), host)
        if len(sys.argv) > 2
        else socket.create_connection((host, PORT), 10)
    )
    connection.settimeout(5)
    while True:
        connection.sendall(b"x\n")
        if not connection.recv(4096):
            return
        print(f"answer {time.time()}", flush=True)
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
