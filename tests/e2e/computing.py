"""Two programs: one asks over TCP and waits for the answer, the other computes it for ever, writing nothing.

`python computing.py serve`, on the LAN host, says `asked`, and `reset` once the connection is reset;
`python computing.py ask HOST`, on the user's machine, says `asked`, and then how the connection ended.
"""

from __future__ import annotations

import socket
import sys
import threading

PORT = 7010


def serve() -> None:
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    print("ready", flush=True)
    while True:
        threading.Thread(target=compute, args=[listener.accept()[0]]).start()


def compute(connection: socket.socket) -> None:
    connection.recv(1)
    print("asked", flush=True)
    wait(connection)


def ask(host: str) -> None:
    with socket.create_connection((host, PORT)) as connection:
        connection.send(b"?")
        print("asked", flush=True)
        wait(connection)


def wait(connection: socket.socket) -> None:
    try:
        data = connection.recv(1)
    except ConnectionResetError:
        print("reset", flush=True)
    else:
        print(f"got {data!r}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["ask", host]:
            ask(host)
