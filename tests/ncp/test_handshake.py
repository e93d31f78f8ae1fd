from __future__ import annotations

import pytest

from nconnect.errors import ProtocolError
from nconnect.ncp import Config
from nconnect.ncp.handshake import agree
from nconnect.ncp.packet_pb2 import Packet


def handshake(window_size: int = 1 << 20, mtu: int = 1024, client_ids: tuple[str, ...] = ("x",)) -> Packet:
    return Packet(handshake=True, window_size=window_size, mtu=mtu, client_ids=client_ids)


def test_each_sends_with_the_smaller_of_both() -> None:
    agreement = agree(Config(mtu=65536, window_size=16 << 20), ["a"], handshake())
    assert (agreement.send_mtu, agreement.send_window) == (1024, 1 << 20)
    agreement = agree(Config(mtu=500, window_size=1000), ["a"], handshake())
    assert (agreement.send_mtu, agreement.send_window) == (500, 1000)


def test_a_packet_larger_than_the_window_could_never_be_sent() -> None:
    assert agree(Config(), ["a"], handshake(window_size=10)).send_mtu == 10


def test_largest_values_are_no_promise_of_ours() -> None:
    agreement = agree(Config(), ["a"], handshake(window_size=2**32 - 1, mtu=2**32 - 1))
    assert (agreement.send_mtu, agreement.send_window) == (Config().mtu, 4 << 20)


def test_paths_are_pairs_of_the_same_place_in_both_lists() -> None:
    local = ["__0__", "__1__", "__2__"]
    assert agree(Config(), local, handshake(client_ids=("", "__0__"))).pairs == (
        ("__0__", ""),
        ("__1__", "__0__"),
    )
    many = tuple(f"__{i}__" for i in range(10_000))
    assert agree(Config(), local, handshake(client_ids=many)).pairs == tuple(zip(local, local, strict=True))


@pytest.mark.parametrize("broken", [{"window_size": 0}, {"mtu": 0}, {"client_ids": ()}])
def test_zero_is_refused(broken: dict[str, int]) -> None:
    with pytest.raises(ProtocolError, match="none may be 0"):
        agree(Config(), ["a"], handshake(**broken))  # type: ignore[arg-type]
