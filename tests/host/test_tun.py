"""The TUN device against the kernel: offloads, limits, and packets that the kernel will not have.

::

    netns: nc0, whose other end is the test

     left                        the test                   right
    ┌───────────────────────┐   ┌──────────────────────┐   ┌───────────────────────┐
    │ TCP ── 100.64.0.1 nc0 ├───┤ reads one device and ├───┤ nc0 100.64.0.2 ── TCP │
    └───────────────────────┘   │ writes to the other  │   └───────────────────────┘
                                └──────────────────────┘
"""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import threading
from collections.abc import Callable

import pytest
import pytun

from nconnect.errors import AlreadyRunningError, ConfigError, HostError, NconnectError, PrivilegeError
from nconnect.host.tun import NO_OFFLOAD, OFFLOAD_STEPS, VIRTIO_HEADER_SIZE, Offload, Tun

from .namespaces import Netns, running, sh

MTU = 1400


@pytest.mark.parametrize("name", ["", "n" * 16, "a b", "a/b", "..", "nc%d", "a\n", "é" * 8, "a:1", "nc*"])
def test_a_name_that_the_kernel_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="interface name"):
        Tun.open(name)


@pytest.mark.parametrize(
    ("number", "expected", "message"),
    [
        (errno.EBUSY, AlreadyRunningError, "exists already"),
        (errno.EPERM, PrivilegeError, "sudo"),
        (errno.ENOENT, HostError, "modprobe tun"),
        (errno.ENODEV, HostError, "modprobe tun"),
        (errno.EMFILE, HostError, "Too many open files"),
    ],
)
def test_the_reason_for_no_device_is_told(
    monkeypatch: pytest.MonkeyPatch, number: int, expected: type[NconnectError], message: str
) -> None:
    def refuse(**_: object) -> None:
        raise pytun.Error(number, os.strerror(number))

    monkeypatch.setattr(pytun, "TunTapDevice", refuse)
    with pytest.raises(expected, match=message):
        Tun.open("nc0")


@pytest.mark.netns
class TestWithTheKernel:
    def test_an_interface_of_that_name_is_not_taken_over(self, netns: Netns) -> None:
        with Tun.open("nc0"), pytest.raises(AlreadyRunningError, match="nc0 exists already"):
            Tun.open("nc0")
        sh("ip tuntap add mode tun name kept")
        with pytest.raises(AlreadyRunningError):
            Tun.open("kept")
        with pytest.raises(AlreadyRunningError):
            Tun.open("lo")

    def test_the_device_lives_as_long_as_the_object(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            assert not os.get_inheritable(tun.fd)
            assert "nc0" in sh("ip -brief link")
        assert "nc0" not in sh("ip -brief link")
        tun.close()

    def test_offloads_are_what_the_kernel_took(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun, Tun.open("nc1", offload=False) as plain:
            assert tun.offloads in OFFLOAD_STEPS
            assert Offload.TSO4 | Offload.TSO6 in tun.offloads
            assert plain.offloads == NO_OFFLOAD
            assert "vnet_hdr on" in sh("ip -d link show nc1")

    def test_older_kernels_get_fewer_offloads(self, netns: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
        # TUNSETOFFLOAD refuses bits that it does not know, as Linux before 6.2 does with USO.
        unknown = (Offload(0x40000000), *OFFLOAD_STEPS[1:])
        monkeypatch.setattr("nconnect.host.tun.OFFLOAD_STEPS", unknown)
        with Tun.open("nc0") as tun:
            assert tun.offloads == OFFLOAD_STEPS[1]

    def test_nothing_to_read_is_no_bytes(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            sh("ip link set nc0 up")
            while tun.read():
                pass
            assert tun.read() == b""

    def test_tcp_crosses_as_super_packets(self) -> None:
        sizes = _largest_packets_of_a_transfer(offload=True)
        assert sizes > 8 * MTU

    def test_without_offload_no_packet_is_longer_than_the_mtu(self) -> None:
        assert _largest_packets_of_a_transfer(offload=False) == MTU + VIRTIO_HEADER_SIZE

    def test_packets_that_make_no_sense_are_counted_and_stop_nothing(self, netns: Netns) -> None:
        rng = random.Random(7)
        with Tun.open("nc0") as tun:
            sh("ip link set nc0 up; ip addr add 100.64.0.1/24 dev nc0")
            for size in (0, 1, 9, 10, 11, 29, *(rng.randrange(2000) for _ in range(500))):
                assert tun.write(rng.randbytes(size))
            # A super-packet of a type that does not exist.
            assert tun.write(struct.pack("<BBHHHH", 1, 77, 40, 1400, 20, 16) + bytes(60))
            assert tun.dropped > 100
            _drain(tun)
            assert tun.write(bytes(VIRTIO_HEADER_SIZE) + _echo_request("100.64.0.2", "100.64.0.1"))
            assert select.select([tun.fd], [], [], 5.0)[0]

    def test_a_link_that_is_down_drops(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            assert tun.write(bytes(VIRTIO_HEADER_SIZE) + _echo_request("100.64.0.2", "100.64.0.1"))
            assert tun.dropped == 1

    def test_a_device_deleted_by_somebody_is_told(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            sh("ip link delete nc0")
            with pytest.raises(HostError, match="nc0 is gone"):
                tun.write(bytes(40))
            with pytest.raises(HostError, match="nc0 is gone"):
                tun.read()

    def test_a_device_deleted_by_somebody_is_made_again(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            offloads = tun.offloads
            sh("ip link delete nc0")
            tun.reopen()
            assert tun.offloads == offloads
            sh("ip address add 100.64.0.1/24 dev nc0; ip link set nc0 up")
            _drain(tun)
            assert tun.write(bytes(VIRTIO_HEADER_SIZE) + _echo_request("100.64.0.2", "100.64.0.1"))
            assert select.select([tun.fd], [], [], 5.0)[0]
        assert "nc0" not in sh("ip link")

    def test_a_name_that_somebody_else_has_meanwhile_is_told(self, netns: Netns) -> None:
        with Tun.open("nc0") as tun:
            sh("ip link delete nc0; ip link add nc0 type bridge")
            with pytest.raises(AlreadyRunningError, match="nc0 exists already"):
                tun.reopen()


def _largest_packets_of_a_transfer(offload: bool) -> int:
    """Send 4 MB by TCP from one namespace to another, through two devices that this process joins."""
    total = 4_000_000
    with Netns() as left, Netns() as right:
        with left.inside():
            a = Tun.open("nc0", offload)
            sh(f"ip link set nc0 up mtu {MTU}; ip addr add 100.64.0.1/24 dev nc0")
            client = socket.socket()
        with right.inside():
            b = Tun.open("nc0", offload)
            sh(f"ip link set nc0 up mtu {MTU}; ip addr add 100.64.0.2/24 dev nc0")
            server = socket.create_server(("100.64.0.2", 5000))
        largest: list[int] = []
        with a, b, client, server, running(_join(a, b, largest)):
            client.settimeout(10.0)
            server.settimeout(10.0)
            client.connect(("100.64.0.2", 5000))
            connection, _ = server.accept()
            with connection, running(lambda _: client.sendall(bytes(total))):
                received = 0
                while received < total:
                    received += len(connection.recv(1 << 20))
        return max(largest)


def _join(a: Tun, b: Tun, sizes: list[int]) -> Callable[[threading.Event], None]:
    """Hand the packets of each device to the other, and note their sizes."""

    def work(stop: threading.Event) -> None:
        while not stop.is_set():
            select.select([a.fd, b.fd], [], [], 0.05)
            for source, sink in ((a, b), (b, a)):
                while packet := source.read():
                    sizes.append(len(packet))
                    assert sink.write(packet)

    return work


def _drain(tun: Tun) -> None:
    while tun.read():
        pass


def _echo_request(source: str, destination: str) -> bytes:
    from scapy.layers.inet import ICMP, IP

    return bytes(IP(src=source, dst=destination) / ICMP())
