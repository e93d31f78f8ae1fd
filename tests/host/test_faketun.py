"""The fake behaves as the real device does towards the pump."""

from __future__ import annotations

import select

from nconnect.host.faketun import FakeTun
from nconnect.host.tun import MAX_PACKET_SIZE, NO_OFFLOAD, Offload, TunDevice


def test_packets_keep_their_borders_in_both_directions() -> None:
    with FakeTun("fake7", Offload.CSUM) as tun:
        device: TunDevice = tun
        assert (device.name, device.offloads) == ("fake7", Offload.CSUM)
        assert device.read() == b""
        tun.deliver(b"one")
        tun.deliver(bytes(MAX_PACKET_SIZE))
        assert select.select([device.fd], [], [], 0)[0]
        assert device.read() == b"one"
        assert device.read() == bytes(MAX_PACKET_SIZE)
        assert device.write(b"two") and device.write(memoryview(b"three"))
        assert select.select([tun.kernel_fd], [], [], 0)[0]
        assert tun.collect() == [b"two", b"three"]
        assert tun.collect() == []


def test_a_full_device_refuses() -> None:
    with FakeTun() as tun:
        assert tun.offloads == NO_OFFLOAD
        written = 0
        while tun.write(bytes(60_000)):
            written += 1
        assert len(tun.collect()) == written > 0
        assert tun.write(b"x")


def test_closing_twice_is_no_trouble() -> None:
    tun = FakeTun()
    tun.close()
    tun.close()
    assert tun.fd == -1
