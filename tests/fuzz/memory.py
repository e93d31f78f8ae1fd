"""Inputs that are made to cost more than they are long, and what memory each takes: a process for itself.

Prints one JSON object: bytes by which the process grew at most while it decoded each input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import resource
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nconnect.errors import NconnectError
from nconnect.host import journal
from nconnect.ncp import Config, Connection
from nconnect.nkn import messages_pb2 as pb
from nconnect.nkn.envelope import decode_payload
from nconnect.nkn.handshake import MAX_TEXT_SIZE, decode_client_text, decode_node_text
from nconnect.nkn.messages import MAX_FRAME_SIZE, MAX_MESSAGE_SIZE, decode_frame
from nconnect.nkn.rpc import MAX_ANSWER_SIZE, MAX_SMALL_ANSWER_SIZE, parse_answer
from nconnect.nkn.wallet import MAX_JSON, MAX_SCRYPT_MEMORY, Wallet
from nconnect.packet.batch import iter_packets
from nconnect.packet.segment import segment
from nconnect.packet.virtio import F_NEEDS_CSUM, GSO_TCPV4, MAX_TCP_SEGMENTS, Header
from nconnect.secure.channel import MAX_MESSAGE
from nconnect.tunnel import control

from .vectors import vectors

MIB = 1 << 20


@dataclass(frozen=True)
class Case:
    """An input for a decoder, and how many bytes that may take."""

    decode: Callable[[bytes], object]
    make: Callable[[], bytes]
    limit: int


def compressed(message: bytes, kind: pb.ClientMessageType = pb.OUTBOUND_MESSAGE) -> bytes:
    return pb.ClientMessage(
        message_type=kind, message=zlib.compress(message), compression_type=pb.COMPRESSION_ZLIB
    ).SerializeToString()


def receive(packet: bytes) -> None:
    """An NCP packet at a session that waits for one."""
    Connection(Config(), local_ids=["__0__"]).receive(packet, "__0__", "__0__", 0.0)


def super_packet() -> bytes:
    """As many segments as a peer may ask for."""
    size = 65_535
    mss = -(-(size - 40) // MAX_TCP_SEGMENTS)
    ip = bytes([0x45, 0]) + size.to_bytes(2, "big") + bytes([0, 0, 0, 0, 64, 6]) + bytes(10)
    tcp = bytes(12) + b"\x50" + bytes(7)
    header = Header(F_NEEDS_CSUM, GSO_TCPV4, 40, mss, 20, 16).encode()
    return header + ip + tcp + bytes(size - 40)


def wallet_with(**scrypt: int) -> bytes:
    document = vectors("nkn/wallet_vectors.json")["wallets"][1]["json"]
    return json.dumps({**document, "Scrypt": {**document["Scrypt"], **scrypt}}).encode()


def split(batch: bytes) -> list[bytes]:
    return [bytes(packet) for packet in iter_packets(batch)]


def open_wallet(data: bytes) -> None:
    Wallet.from_json(data.decode(), "password")


def list_of(unit: bytes, size: int) -> bytes:
    """A JSON-RPC answer and a node's text at once: a list that fills ``size`` bytes."""
    head = b'{"Error":0,"result":['
    return head + unit * ((size - len(head) - 3) // len(unit)) + b"0]}"


HALF_FRAME = MAX_FRAME_SIZE // 2 - 16
HALF_MESSAGE = MAX_MESSAGE_SIZE // 2
BOMB = 64 * MIB
DEEP = 1_000_000

# Limits are for what the result may hold, and what is made on the way to it.
FRAME_LIMIT = 24 * MAX_FRAME_SIZE
CASES = {
    "a zlib bomb": Case(decode_frame, lambda: compressed(bytes(BOMB)), FRAME_LIMIT),
    "a zlib bomb for a client": Case(
        decode_frame, lambda: compressed(bytes(BOMB), pb.INBOUND_MESSAGE), FRAME_LIMIT
    ),
    "two million destinations": Case(decode_frame, lambda: compressed(b"\x1a\x00" * HALF_FRAME), FRAME_LIMIT),
    "as many signatures": Case(decode_frame, lambda: compressed(b"\x3a\x00" * HALF_FRAME), FRAME_LIMIT),
    "a source named two million times": Case(
        decode_frame, lambda: compressed(b"\x0a\x00" * HALF_FRAME, pb.INBOUND_MESSAGE), FRAME_LIMIT
    ),
    "two million unknown fields": Case(
        decode_frame, lambda: compressed(b"\x78\x00" * HALF_FRAME, pb.INBOUND_MESSAGE), FRAME_LIMIT
    ),
    "two million unknown groups": Case(
        decode_frame, lambda: compressed(b"\x7b\x7c" * HALF_FRAME, pb.RECEIPT), FRAME_LIMIT
    ),
    "a frame with a length of 2^31": Case(
        decode_frame, lambda: b"\x12\xff\xff\xff\xff\x07" + bytes(1000), MIB
    ),
    "four million ACK ranges": Case(
        receive, lambda: b"\x1a\x80\x92\xf4\x01" + b"\x01" * MAX_MESSAGE_SIZE, MIB
    ),
    "two million client ids": Case(receive, lambda: b"\x50\x01" + b"\x32\x00" * HALF_MESSAGE, MIB),
    "four million bytes for an MTU of 1,024": Case(
        receive, lambda: b"\x12\x80\x92\xf4\x01" + bytes(MAX_MESSAGE_SIZE), MIB
    ),
    "a payload with its data two million times": Case(
        decode_payload, lambda: b"\x1a\x00" * HALF_MESSAGE, MIB
    ),
    "a large answer of empty lists": Case(
        parse_answer, lambda: list_of(b"[],", MAX_ANSWER_SIZE), 32 * MAX_ANSWER_SIZE
    ),
    "a large answer of empty objects": Case(
        parse_answer, lambda: list_of(b"{},", MAX_ANSWER_SIZE), 32 * MAX_ANSWER_SIZE
    ),
    "a small answer of empty lists": Case(
        parse_answer, lambda: list_of(b"[],", MAX_SMALL_ANSWER_SIZE), 4 * MIB
    ),
    "a deep answer": Case(parse_answer, lambda: b"[" * DEEP, 4 * MIB),
    "a node's text of empty lists": Case(decode_node_text, lambda: list_of(b"[],", MAX_TEXT_SIZE), 4 * MIB),
    "a deep text of a client": Case(
        decode_client_text, lambda: b'{"Addr":' + b"[" * (MAX_TEXT_SIZE // 2), 4 * MIB
    ),
    "a wallet that asks for 1 GiB": Case(open_wallet, lambda: wallet_with(N=1 << 20), 4 * MIB),
    "a wallet that asks for the most": Case(
        open_wallet, lambda: wallet_with(N=MAX_SCRYPT_MEMORY // 1024, P=1), MAX_SCRYPT_MEMORY + 16 * MIB
    ),
    "a deep wallet": Case(open_wallet, lambda: b'{"a":' * (MAX_JSON // 5), 4 * MIB),
    "a batch of the shortest packets": Case(split, lambda: (b"\x1e\0\0\0" + bytes(30)) * 4000, 4 * MIB),
    "a batch with a length of 2^32-1": Case(split, lambda: b"\xff" * 4 + bytes(100), MIB),
    "segments of 32 bytes": Case(segment, super_packet, 4 * MIB),
    "a control message of routes": Case(
        control.decode, lambda: b"\x22\xfc\xff\x03" + b"\x0a\x00" * (MAX_MESSAGE // 2 - 2), 4 * MIB
    ),
    "a journal of brackets": Case(journal.parse, lambda: b"[" * DEEP + b"\n" + b"[" * DEEP, 8 * MIB),
}


def growth(case: Case) -> int:
    """Bytes that decoding takes beyond what the process has, in a child that starts with as much."""
    data = case.make()
    # What is free, but still the process's, would be taken first and not be seen.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    read_end, write_end = os.pipe()
    if child := os.fork():
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            grown = pipe.read()
        os.waitpid(child, 0)
        return int(grown)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    with contextlib.suppress(NconnectError):
        case.decode(data)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    os.write(write_end, str(max(after - before, 0)).encode())
    os._exit(0)


if __name__ == "__main__":
    print(json.dumps({name: growth(case) for name, case in CASES.items()}))
