"""Sends a text where it is easy to find: `marker.py HOST TEXT`, over TCP, UDP and HTTP, and gets it back.

`marker.py relay ADDRESS TEXT` sends it through the relays with no encryption at all, as NKN allows.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.request

from nconnect.nkn.config import ClientConfig
from nconnect.nkn.keys import KeyPair
from nconnect.nkn.multiclient import MultiClient

SECONDS = 10.0
HTTP_PORT = 8080


def over_tcp(host: str, text: bytes) -> None:
    with socket.create_connection((host, 7003), SECONDS) as sock, sock.makefile("rb") as lines:
        sock.sendall(text + b"\n")
        assert text in lines.readline()


def over_udp(host: str, text: bytes) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect((host, 7004))
        sock.send(text)
        assert sock.recv(1 << 16) == text


def over_http(host: str, text: bytes) -> None:
    name = f"[{host}]" if ":" in host else host
    request = urllib.request.Request(f"http://{name}:{HTTP_PORT}/", headers={"X-Marker": text.decode()})
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        assert text in answer.read()


async def through_the_relays(address: str, text: str) -> None:
    config = ClientConfig(seed_rpc=(os.environ["NCONNECT_SEED_RPC"],))
    async with MultiClient(KeyPair.generate(), "marker", config) as client:
        await client.wait_paths(len(client.paths))
        await client.send(address, text, no_reply=True, encrypt=False)


def main() -> None:
    if sys.argv[1] == "relay":
        asyncio.run(through_the_relays(sys.argv[2], sys.argv[3]))
        return
    host, text = sys.argv[1], sys.argv[2].encode()
    for send in (over_tcp, over_udp, over_http):
        send(host, text)
    print("sent and got back")


if __name__ == "__main__":
    main()
