"""Where our resolver listens."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nconnect.errors import HostError
from nconnect.names import listening
from nconnect.names.listening import HIGH_PORT, PORT, bind


def test_each_instance_has_an_address_of_its_own() -> None:
    one, other = bind("office"), bind("home")
    try:
        assert one.address != other.address
        assert one.address.is_loopback
        assert one.udp.getsockname() == one.tcp.getsockname() == (str(one.address), one.port)
    finally:
        one.close()
        other.close()


def test_an_address_that_is_taken() -> None:
    one, other = bind("office"), bind("office")
    assert one.address != other.address
    one.close()
    other.close()
    again = bind("office")
    assert again.address == one.address, "the same one tomorrow"
    again.close()


def test_without_the_right_to_port_53(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = listening._bind

    def refuse(host: str, port: int) -> listening.Sockets:
        if port == PORT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return bound(host, port)

    monkeypatch.setattr(listening, "_bind", refuse)
    sockets = bind("office")
    assert sockets.port == HIGH_PORT
    sockets.close()


def test_where_somebody_has_the_port_everywhere() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as all_high, pytest.MonkeyPatch.context() as patch:
        all_high.bind(("0.0.0.0", 0))
        patch.setattr(listening, "PORT", all_high.getsockname()[1])
        patch.setattr(listening, "HIGH_PORT", all_high.getsockname()[1])
        with pytest.raises(
            HostError, match=r"cannot answer names at 127\.78\.67\..*: Address already in use"
        ):
            bind("office")
