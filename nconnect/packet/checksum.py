"""The Internet checksum (RFC 1071), by way of big integers.

65,536 is 1 modulo 65,535: so the one's complement sum of 16-bit words is the whole, read as one big-endian
number, modulo 65,535, and CPython computes that in C.
"""

from __future__ import annotations

_MODULUS = 0xFFFF


def word_sum(data: bytes | bytearray | memoryview) -> int:
    """Sum of the 16-bit words of `data` modulo 65,535; an odd last byte is the high half of a word."""
    value = int.from_bytes(data, "big")
    return (value << 8 if len(data) & 1 else value) % _MODULUS


def complement(total: int) -> int:
    """The checksum field for a sum of words, of which at least one was not zero."""
    return -total % _MODULUS


def pseudo_header(source: bytes, destination: bytes, protocol: int) -> int:
    """Sum of the pseudo header without its length (RFC 9293, 3.1; RFC 8200, 8.1): add the length to it."""
    return word_sum(source) + word_sum(destination) + protocol
