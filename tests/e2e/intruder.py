"""What a user or provider tries who wants more than was agreed on: `intruder.py COMMAND …`.

probe LINK HOST PORT…   connects to each port of HOST through LINK, whatever the routes say; prints for each
                        `open`, `refused` (somebody answered) or `nothing`
forge LINK SOURCE DEST  sends ICMP echo requests with any SOURCE out of LINK, past the own firewall
listen PORT             accepts on all addresses, prints `ready`, then who came
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Coroutine

ANSWER_SECONDS = 1.5
FORGED = 5

ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
ICMP, ICMPV6 = 1, 58


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(source: str, destination: str, number: int) -> bytes:
    """A whole IP packet."""
    ours, theirs = ipaddress.ip_address(source).packed, ipaddress.ip_address(destination).packed
    v4 = len(ours) == 4
    body = struct.pack("!BBHHH", 8 if v4 else 128, 0, 0, 7, number) + b"forged"
    pseudo = b"" if v4 else ours + theirs + struct.pack("!II", len(body), ICMPV6)
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    if not v4:
        return struct.pack("!IHBB", 6 << 28, len(body), ICMPV6, 64) + ours + theirs + body
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), number, 0, 64, ICMP, 0) + ours + theirs
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + body


async def probe(link: str, host: str, *ports: str) -> str:
    async def one(port: str) -> str:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
            sock.setblocking(False)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
            except ConnectionError:
                return "refused"
            except OSError:
                return "nothing"
            return "open"

    return " ".join(await asyncio.gather(*map(one, ports)))


async def forge(link: str, source: str, destination: str) -> str:
    protocol = ETH_P_IPV6 if ":" in source else ETH_P_IP
    # A packet socket hands its packets to the link directly: no routing, no nftables.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sock:
        for number in range(FORGED):
            sock.sendto(echo_request(source, destination, number), (link, protocol))
    return str(FORGED)


async def listen(port: str) -> str:
    async def somebody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        print("came:", *writer.get_extra_info("peername")[:1], flush=True)
        writer.close()

    server = await asyncio.start_server(somebody, None, int(port))
    print("ready", flush=True)
    await server.serve_forever()
    return ""


if __name__ == "__main__":
    command: dict[str, Callable[..., Coroutine[None, None, str]]] = {
        "probe": probe,
        "forge": forge,
        "listen": listen,
    }
    print(asyncio.run(command[sys.argv[1]](*sys.argv[2:])))
