"""A DNS server that knows some names and says what it is asked for: ``names.py ADDRESS NAME=ADDRESS...``.

UDP and IPv4 addresses alone, which is how and what the lab's machines ask. Any other name is none.
"""

from __future__ import annotations

import socket
import sys

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL = 5
MAX_QUESTION = 4096


def answer(query: dns.message.Message, known: dict[dns.name.Name, str]) -> dns.message.Message:
    """What is known of the name."""
    reply = dns.message.make_response(query, recursion_available=True)
    [question] = query.question
    if question.name not in known:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        reply.answer.append(dns.rrset.from_text(question.name, TTL, "IN", "A", known[question.name]))
    return reply


def main() -> None:
    """Serve until a signal."""
    address, *pairs = sys.argv[1:]
    known = {dns.name.from_text(name): value for name, value in (pair.split("=") for pair in pairs)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        while True:
            wire, client = server.recvfrom(MAX_QUESTION)
            query = dns.message.from_wire(wire)
            print(f"asked for {query.question[0]}", flush=True)
            server.sendto(answer(query, known).to_wire(), client)


if __name__ == "__main__":
    main()
