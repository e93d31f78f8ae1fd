"""A model server and its client: one HTTP response, a token at a time, as a long generation is.

`python generating.py serve`, on the LAN host, answers a request with tokens, and says each, until SIGUSR1
ends it; `python generating.py ask HOST`, on the user's machine, asks once, says each token that comes, and at
last `finished: COUNT` if all of them came, in order, and the response was whole.
"""

from __future__ import annotations

import http.client
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 7011
INTERVAL = 0.1
"""Seconds between two tokens: a model that one reads along with."""

enough = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # whose chunks tell a response that was cut off from a whole one

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        count = 0
        while not enough.wait(INTERVAL):
            count += 1
            self.chunk(f"token {count}\n")
            print(f"token {count}", flush=True)
        self.chunk(f"end {count}\n")
        self.chunk("")

    def chunk(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())


def serve() -> None:
    server = ThreadingHTTPServer(("", PORT), Handler)
    signal.signal(signal.SIGUSR1, lambda number, frame: enough.set())
    print("ready", flush=True)
    server.serve_forever()


def ask(host: str) -> None:
    connection = http.client.HTTPConnection(host, PORT)
    connection.request("GET", "/")
    response = connection.getresponse()
    count = 0
    while (line := response.readline()) == f"token {count + 1}\n".encode():
        count += 1
        print(f"token {count}", flush=True)
    if line != f"end {count}\n".encode() or response.read():
        raise SystemExit(f"after token {count} came {line!r}")
    print(f"finished: {count}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            serve()
        case ["ask", host]:
            ask(host)
