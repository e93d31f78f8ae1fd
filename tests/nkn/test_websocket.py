"""Why a connection could not be made, in words for people. The rest is seen through sub-clients."""

from __future__ import annotations

import errno
import socket

import pytest

from nconnect.nkn.websocket import connect_failure

CASES = [
    (
        ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.1', 30003)"),
        "connection refused by seed.example:30003",
    ),
    (
        OSError(errno.EHOSTUNREACH, "Connect call failed ('192.0.2.1', 30003)"),
        "no route to host (seed.example:30003)",
    ),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "Network is unreachable"),
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
    (OSError("seed.example has no address"), "seed.example has no address"),
]


@pytest.mark.parametrize(("error", "words"), CASES)
def test_why_it_could_not_connect(error: OSError, words: str) -> None:
    assert connect_failure(error, "seed.example", 30003) == words
